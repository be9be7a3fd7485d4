"""The mathematics of every metric: features in, numbers out, without networks and without files."""
