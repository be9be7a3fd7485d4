"""What the networks minimise: losses, regularizers, and the schedule of the learning rate."""
