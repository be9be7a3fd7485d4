"""A tiny run that uses every part of the trainer, and the commands on it."""

from pathlib import Path

from benchmarks.soak.training_faults.preloaded import ROOT

DIGITS = ROOT / "tests" / "data" / "digits.parquet"
"""512 real MNIST images."""

SETTINGS = (
    "network.width=8",
    "network.noise_dim=16",
    "data.fit=crop",
    "data.resolution=16",
    "batch_size=16",
    "images=256",
    "judge.every=128",
    "judge.samples=500",
    "pace.tick=32",
    "pace.samples=128",
    "pace.checkpoint=64",
    "ema.half_lives=[20000]",
    "precision=float32",
)


class Place:
    """The folders of one try: its run, its cache and its bundles."""

    def __init__(self, root: Path, data: Path = DIGITS) -> None:
        self.root, self.data = root, data
        self.run, self.cache, self.zoo, self.store = root / "run", root / "cache", root / "zoo", root / "store"
        root.mkdir(parents=True, exist_ok=True)

    def fit(self, *more: str) -> list[str]:
        """Returns the command that begins the run."""
        settings = [f"--set={setting}" for setting in (*SETTINGS, *more)]
        return ["fit", "digits", "--data", str(self.data), "--out", str(self.run), *settings]

    def resume(self) -> list[str]:
        """Returns the command that goes on with the run."""
        return ["resume", str(self.run)]

    def begin_or_resume(self) -> list[str]:
        """Returns what a user would do after a kill: go on with the run, or begin it if there is none yet."""
        return self.resume() if (self.run / "config.yaml").is_file() else self.fit()

    def export(self, run: Path | None = None) -> list[str]:
        """Returns the command that exports a run, by default the own one."""
        return ["export", str(run or self.run), "--to", str(self.zoo)]

    def pack(self, graph: Path) -> list[str]:
        """Returns the command that packs a graph."""
        return ["pack", str(graph), "--to", str(self.zoo), "--name", "packed"]

    def push(self, bundle: Path) -> list[str]:
        """Returns the command that publishes a bundle in a folder."""
        return ["push", str(bundle), f"file://{self.store}"]
