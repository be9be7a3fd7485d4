"""Bundle → pixels: the device, the engine that runs a generator on it, the batch policy, and the scheduler."""
