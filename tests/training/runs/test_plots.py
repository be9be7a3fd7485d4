"""The plots of a run leave nothing in memory."""

import gc
from pathlib import Path

from matplotlib.figure import Figure

from training.runs.folder import RunFolder
from training.runs.plots import plot_run


def test_drawing_keeps_no_figure(finished_run: Path) -> None:
    """Kept figures made the memory of long runs grow with each grid."""
    gc.disable()
    try:
        plot_run(RunFolder.open(finished_run))
        assert not [each for each in gc.get_objects() if isinstance(each, Figure)]
    finally:
        gc.enable()
