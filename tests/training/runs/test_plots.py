"""The plots of a run do not pile up in memory."""

import gc
from pathlib import Path

from matplotlib.figure import Figure

from training.runs.folder import RunFolder
from training.runs.plots import plot_run


def test_drawing_keeps_no_earlier_figure(finished_run: Path) -> None:
    """Kept figures made the memory of long runs grow with each grid."""
    gc.disable()
    try:
        for _ in range(3):
            plot_run(RunFolder.open(finished_run))
        # Matplotlib itself keeps the last one.
        assert sum(isinstance(each, Figure) for each in gc.get_objects()) <= 1
    finally:
        gc.enable()
