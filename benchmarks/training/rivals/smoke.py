"""Checks in seconds that the whole comparison works, on drawings made up here."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.training.rivals.cases import CASES
from benchmarks.training.rivals.entries import entries
from benchmarks.training.rivals.report import Report
from benchmarks.training.rivals.results import Results
from benchmarks.training.rivals.runs import Comparison

_MINUTES = (0.001, 0.002)
"""A step or two."""

_IMAGES = 200
"""Little more than a judge needs."""


def smoke() -> None:
    """Compares all contenders on grey images with labels, and on transparent ones without. Prints the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {"mnist": _draw(folder / "grey", "L", 28), "emoji": _draw(folder / "transparent", "RGBA", 64)}
        results = Results(folder / "out")
        comparison, contenders = Comparison(results, sources, "cpu"), entries(smoke=True)
        for source in sources:
            for entry in contenders.values():
                comparison.complete(CASES[source], entry, _MINUTES)
        written = Report(results, list(contenders.values()), "cpu").write(folder / "out")
        print(written[0].read_text())


def _draw(folder: Path, mode: str, side: int) -> str:
    """Writes ellipses and rectangles in any place and colour, one folder for each, and returns the path."""
    random = np.random.RandomState(0)
    channels = len(Image.new(mode, (1, 1)).getbands())
    for index in range(_IMAGES):
        image = Image.new(mode, (side, side))
        left, top, width, height = random.randint(2, side // 2, 4).tolist()
        colour = [*random.randint(64, 256, channels)]
        if channels == 4:
            colour[3] = 255
        draw, kind = ImageDraw.Draw(image), ("ellipse", "rectangle")[index % 2]
        getattr(draw, kind)((left, top, left + width, top + height), fill=tuple(map(int, colour)))
        path = folder / kind / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return str(folder)
