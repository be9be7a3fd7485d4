"""Several regions: how far clients are from the nearest, and what the others carry when one is lost."""

import math
from collections.abc import Sequence

from benchmarks.scaling import assumptions

EARTH_KM = 6371.0


def great_circle_km(first: str, second: str) -> float:
    """Returns the distance between two of the cities, by the haversine formula."""
    (latitude, longitude), (other_latitude, other_longitude) = (
        tuple(map(math.radians, assumptions.CITIES[city])) for city in (first, second)
    )
    half = math.sin((other_latitude - latitude) / 2) ** 2 + math.cos(latitude) * math.cos(other_latitude) * (
        math.sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(math.sqrt(half))


def round_trip_seconds(city: str, regions: Sequence[str]) -> float:
    """Returns the time of light to the nearest region and back, through cables."""
    kilometres = min(great_circle_km(city, region) for region in regions)
    return 2 * kilometres * assumptions.DETOUR / assumptions.FIBRE_KM_PER_SECOND


def round_trips(regions: Sequence[str]) -> tuple[float, float]:
    """Returns the mean and the longest round trip of all cities, in seconds."""
    seconds = [round_trip_seconds(city, regions) for city in assumptions.CITIES]
    return sum(seconds) / len(seconds), max(seconds)


def load_after_loss(regions: int) -> float:
    """Returns by which factor each region's load grows when one is lost, if the others share its clients evenly."""
    return regions / (regions - 1)
