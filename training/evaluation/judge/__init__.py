"""The data set's own network, whose features compare images, and its training."""
