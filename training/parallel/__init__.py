"""Several processes as one: collectives, shared random numbers, signals, and exits."""
