"""The mathematics of a training run: the state, one step, its metrics, and the loop around them."""
