"""What ``fit`` and ``resume`` do: prepare data and networks, train, and name the next command.

Under torchrun every process runs this. The first one owns the run's folder; the others ask it.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config.files import dump_config, load_config
from training.config.schema import Config
from training.data.checks import (
    check_data,
    report_data,
    warn_few_images,
    warn_near_duplicates,
    warn_uneven_labels,
)
from training.data.dataset import TrainingImages, load_images
from training.device import gpu_memory
from training.errors import DivergenceError, TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import MIN_IMAGES, find_judge, judge_for
from training.loop.batch import num_micro_batches
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.precision import choose_precision
from training.loop.state import TrainingState, check_freezing
from training.parallel.distributed import Processes, joined_processes
from training.parallel.ending import end
from training.parallel.stopping import interruptible
from training.preset_choice import choose_and_report
from training.runs.checkpoints import checkpoints
from training.runs.folder import (
    CONFIG_FILE,
    RunFolder,
    RunLock,
    RunStart,
    begin_run,
    check_free,
    missing_folders,
    numbered_folder,
    open_start,
)
from training.runs.initial_networks import InitialNetworks, read_networks
from training.runs.reporter import Reporter
from training.runs.resuming import apply_changes, changed_config, resume_point
from training.runs.transfer import networks_of_run


def train_new_run(
    preset: str | None,
    data: str,
    settings: list[str],
    images: int | None,
    out: Path | None,
    init_from: Path | None = None,
) -> None:
    """Trains in a new folder: ``out``, or a numbered one below ``runs/``. Raises ``TrainingError``.

    The networks start as those of the run ``init_from``, if that is given. Without a preset, the images choose one.
    """
    with _stoppable() as stop_point, joined_processes() as processes:
        if preset is None:
            preset, settings = _choose(data, settings, images, out, init_from, processes)
        config = load_config(preset, [*settings, *_budget(images)])
        check_freezing(config, trained=init_from is not None)
        num_micro_batches(config, processes)  # raises before anything is written
        path = out or processes.from_first(lambda: numbered_folder(config, settings))
        stop_point.run = path
        with RunLock(path) as lock:
            start = processes.from_first(lambda: _begin(lock, path, config, data, processes.device, init_from))
            stop_point.resumable = path
            try:
                loaded, state = _prepare(data, start.config, processes)
                if start.initial:
                    _start_from(start, state, processes)
                run = processes.from_first(lambda: start.complete(loaded))
                judge = _deferred_judge(run.config, loaded) if processes.first else None
            except Exception:  # a stop is no Exception: a stopped run keeps its folder and can be resumed
                if processes.first:
                    start.undo()
                raise
            _train(run, loaded, state, processes, judge, stop_point)


def describe_run(
    preset: str | None, data: str, settings: list[str], images: int | None, init_from: Path | None = None
) -> None:
    """Prints the resolved configuration, the data and both networks; writes nothing. Raises ``TrainingError``."""
    with _stoppable(), joined_processes() as processes:
        if preset is None:
            preset, settings = _choose(data, settings, images, None, init_from, processes)
        config = load_config(preset, [*settings, *_budget(images)])
        check_freezing(config, trained=init_from is not None)
        config = processes.from_first(lambda: _resolve_precision(config, processes.device))
        initial = processes.from_first(lambda: networks_of_run(init_from, config)) if init_from else None
        loaded, state = _prepare(data, config, processes)
        if initial:
            _take_over(initial, state, processes)
        if processes.first:
            _describe(config, loaded, state)


def resume_run(path: Path, data: str | None, settings: list[str], images: int | None) -> None:
    """Continues a run from its newest checkpoint, exactly; without one, begins it again. Raises ``TrainingError``."""
    with _stoppable() as stop_point, joined_processes() as processes, RunLock(path) as lock:
        stop_point.run = path
        start = processes.from_first(lambda: _open(lock, path))
        stop_point.resumable = path
        checkpoint = processes.from_first(lambda: resume_point(start))
        seen = checkpoint["images_seen"] if checkpoint else 0
        config = changed_config(start.config, [*settings, *_budget(images)])
        if config.images != start.config.images and config.images < seen:
            raise TrainingError(f"a budget of {config.images} images is below the {seen} that {path} has seen already")
        check_freezing(config, trained=start.initial is not None)
        config = processes.from_first(lambda: _resolve_precision(config, processes.device))
        loaded, state = _prepare(_find_data(start, data), config, processes)
        run = processes.from_first(lambda: start.complete(loaded, data))
        if checkpoint:
            state.load_state_dict(checkpoint)
        else:
            if processes.first:
                print(f"{path} has no checkpoint yet: it begins again", file=sys.stderr)
            if start.initial:
                _start_from(start, state, processes)
        run = processes.from_first(lambda: apply_changes(run, config, state))
        judge = _deferred_judge(run.config, loaded) if processes.first else None
        _train(run, loaded, state, processes, judge, stop_point)


@dataclass
class _StopPoint:
    """What a stop before the training can refer the user to."""

    run: Path | None = None
    """The run's folder, once it is known."""
    resumable: Path | None = None
    """The run's folder: set once the run can be resumed, None again while it trains."""


@contextmanager
def _stoppable() -> Iterator[_StopPoint]:
    """Ends the command in good order on SIGTERM or Ctrl-C before the training, which handles both by itself."""
    stop_point = _StopPoint()
    with interruptible():
        try:
            yield stop_point
        except OSError as error:
            raise TrainingError(_cannot_write(error, stop_point.run)) from error
        except KeyboardInterrupt as stop:
            run = stop_point.resumable
            if run is None:
                raise
            end(stop, 0, f"{run}: stopped before it trained. Next: python -m training resume {run}", sys.stdout)


def _cannot_write(error: OSError, run: Path | None) -> str:
    """Returns in one sentence what could not be written, and what to do then."""
    about = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
    again = f"python -m training resume {run}" if run and (run / CONFIG_FILE).is_file() else "the same command again"
    return f"{about}{error.strerror or error}; what was saved before is whole. To go on, {remedy}, then: {again}"


def _budget(images: int | None) -> list[str]:
    """Returns ``--images`` as a setting."""
    return [] if images is None else [f"images={images}"]


def _choose(
    data: str,
    settings: list[str],
    images: int | None,
    out: Path | None,
    init_from: Path | None,
    processes: Processes,
) -> tuple[str, list[str]]:
    """Returns the preset for the images and the device, and all settings over it. The first process chooses."""
    options = {"--out": out, "--images": images, "--init-from": init_from}
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    return processes.from_first(lambda: choose_and_report(data, settings, gpu_memory(processes.device), given))


def _resolve_precision(config: Config, device: torch.device) -> Config:
    """Returns the configuration with the faster precision instead of ``auto``, and reports the choice."""
    if config.precision != "auto":
        return config
    choice = choose_precision(config, device)
    print(choice, file=sys.stderr, flush=True)
    return config.model_copy(update={"precision": choice.precision})


def _begin(
    lock: RunLock, path: Path, config: Config, source: str, device: torch.device, init_from: Path | None
) -> RunStart:
    check_free(path)  # before the lock, whose file would otherwise lie in a folder of other things
    initial = networks_of_run(init_from, config) if init_from else None
    created = missing_folders(path)
    if config.precision == "auto" and (path / CONFIG_FILE).is_file():
        # An earlier start has decided. Another measurement could turn out otherwise, and make this another run.
        config = config.model_copy(update={"precision": open_start(path).config.precision})
    config = _resolve_precision(config, device)
    lock.acquire()
    start = begin_run(path, config, source, created, initial)
    if not start.new:
        resume_point(start)  # raises for a run that has lost its checkpoints, so it is not overwritten
    return start


def _open(lock: RunLock, path: Path) -> RunStart:
    open_start(path)  # raises before a lock file is written into a folder that is no run
    lock.acquire()
    return open_start(path)  # again: the previous holder of the lock may have changed it


def _find_data(start: RunStart, moved_to: str | None) -> str:
    """Returns where the run's images lie. Raises ``TrainingError`` if they are no longer there."""
    if moved_to is None and Path(start.source).is_absolute() and not Path(start.source).exists():
        raise TrainingError(
            f"the images of {start.path} are no longer in {start.source}; say where they are now: "
            f"python -m training resume {start.path} --data DATA"
        )
    return moved_to or start.source


def _start_from(start: RunStart, state: TrainingState, processes: Processes) -> None:
    """Gives the networks the weights that the run starts from. The first process reads them, all take them."""
    source = start.initial
    assert source is not None
    _take_over(processes.from_first(lambda: read_networks(start.path, source)), state, processes)


def _take_over(initial: InitialNetworks, state: TrainingState, processes: Processes) -> None:
    record = initial.source.record
    left = state.start_from(initial.generator, initial.discriminator, initial.emas, record.images_seen)
    if processes.first:
        outcome = f"what does not fit starts at random: {left}" if left else "every layer fits"
        print(
            f"starting from the networks of {initial.source.run} after {record.images_seen} images; {outcome}",
            file=sys.stderr,
        )


def _prepare(source: str, config: Config, processes: Processes) -> tuple[TrainingImages, TrainingState]:
    """Loads and checks the data, and returns it with a fresh training state. Raises ``TrainingError``."""
    num_micro_batches(config, processes)
    loaded = _load(source, config, processes)
    check_data(config, loaded, MIN_IMAGES)
    if processes.first:
        warn_uneven_labels(config, loaded)
        warn_few_images(loaded)
        warn_near_duplicates(loaded, config.data.holdout)
    labels = len(loaded.label_names or ()) if config.conditional else 0
    return loaded, TrainingState(config, labels, processes.device)


def _load(source: str, config: Config, processes: Processes) -> TrainingImages:
    """Loads the data: one process of each machine decodes it, the others map the result."""
    if processes.first_here:
        loaded = load_images(source, config.data)
        report_data(loaded, config.data.holdout)
    processes.wait()
    return loaded if processes.first_here else load_images(source, config.data)


def _train(
    run: RunFolder,
    data: TrainingImages,
    state: TrainingState,
    processes: Processes,
    open_judge: Callable[[], LoopJudge] | None,
    stop_point: _StopPoint,
) -> None:
    reporter = Reporter(run, data, state, open_judge) if processes.first else None
    stop_point.resumable = None
    try:
        finished = fit(run.config, data, state, processes, reporter or Callback())
    except DivergenceError as error:
        raise DivergenceError(f"{error}. {_divergence_remedy(run)}") from error
    if reporter and state.given_up and not finished:
        best = f"; its best, of {state.best.images_seen} images, is kept" if state.best else ""
        print(
            f"{run.path}: given up after {state.images_seen} images{best}. {state.given_up}. "
            f"Next: python -m training export {run.path} --to models/zoo, "
            f"or go on: python -m training resume {run.path} --set doctor=watch"
        )
    elif reporter:
        finished = finished and not reporter.score_due
        outcome = "trained on" if finished else "stopped after"
        following = f"export {run.path} --to models/zoo" if finished else f"resume {run.path}"
        print(f"{run.path}: {outcome} {state.images_seen} images. Next: python -m training {following}")


def _divergence_remedy(run: RunFolder) -> str:
    """Returns the exact command that continues a diverged run with half the learning rates."""
    saved = checkpoints(run.checkpoints)
    where = f"its checkpoint at {int(saved[-1].stem)} images" if saved else "its beginning"
    rates = " ".join(
        f"--set {name}.learning_rate={getattr(run.config, name).learning_rate / 2:g}"
        for name in ("generator_optimizer", "discriminator_optimizer")
    )
    return f"Go on from {where} with lower learning rates: python -m training resume {run.path} {rates}"


def _deferred_judge(config: Config, data: TrainingImages) -> Callable[[], LoopJudge] | None:
    """Returns a function that returns the data set's own judge, trained if missing; None for a run without a judge.

    Raises ``TrainingError`` now if the judge in the cache cannot be read or the data has too few images for one.
    """
    if config.judge is None:
        return None
    samples = config.judge.samples
    try:
        found = find_judge(data)
    except TrainingError as error:
        raise TrainingError(f"{error}; or train without a judge: --set judge=null") from error

    def open_judge() -> LoopJudge:
        return LoopJudge(data, samples, found or judge_for(data), config.network.noise_dim, config.conditional)

    return open_judge


def _describe(config: Config, data: TrainingImages, state: TrainingState) -> None:
    print(dump_config(config))
    labels = f"{len(data.label_names)} labels" if data.label_names else "no labels"
    print(f"data: {data.name}, {len(data)} images, {labels}, fingerprint {data.fingerprint[:12]}")
    for title, network in (("generator", state.generator), ("discriminator", state.discriminator)):
        weights = sum(parameter.numel() for parameter in network.parameters())
        print(f"\n{title}: {weights:,} weights\n{network}")
