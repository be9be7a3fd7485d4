"""A value with its spread."""

from typing import NamedTuple


class Estimate(NamedTuple):
    """The mean of a metric over subsets or splits of the images, and the standard deviation over them."""

    value: float
    deviation: float
