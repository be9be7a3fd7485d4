"""Reports an evaluation: as a table, ``scores.json``, ``evaluation.png``, and in a bundle's card."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table

from models.bundle import CARD_FILE, Card
from training.errors import TrainingError
from training.evaluation.evaluate import Evaluation
from training.evaluation.reference import Reference
from training.evaluation.shared.scores import KERNEL
from training.evaluation.target import EvalTarget, generate_batches
from training.files import write_atomic
from training.runs.sampling import image_grid

SCORES_FILE = "scores.json"
PICTURE_FILE = "evaluation.png"

SMALL_DATA = 5_000
"""Below this number of images the bias of a Fréchet distance is large, and the kernel distance has none."""
READ_ON_SMALL_DATA = (KERNEL, "kid")

_MARK = "◀"
_ROWS, _COLUMNS = 6, 8
_NEIGHBOURS = 2 * _COLUMNS
_MARGIN, _CAPTION = 8, 16
_SMALLEST_CELL = 64


def table(evaluation: Evaluation) -> RenderableType:
    """Returns the scores as a table: each with its spread, its baselines, and which direction is better."""
    scores = Table(
        title=f"{evaluation.subject.name} against {evaluation.data.name}, {evaluation.judge_name}",
        caption=f"{evaluation.repeats} × {evaluation.samples} images; floor: {evaluation.floor_samples} real images "
        "that the judge has not seen; ceiling: noise; share: 0 like real images, 1 like noise"
        + "".join(f"; {line}" for line in _advice(evaluation)),
    )
    scores.add_column("metric")
    for column in ("value", "±", "floor", "ceiling", "share"):
        scores.add_column(column, justify="right")
    scores.add_column("better")
    for score in evaluation.scores:
        numbers = (score.value, score.deviation, score.floor, score.ceiling)
        share = "" if score.share is None else f"{score.share:.2%}"
        scores.add_row(_marked(score.metric, evaluation), *map(_number, numbers), share, score.better)
    if not evaluation.labels:
        return scores
    labels = Table(title="Labels: the share of images in which the judge sees the requested label")
    for column in ("label", "images", "generated", "real"):
        labels.add_column(column, justify="left" if column == "label" else "right")
    for row in evaluation.labels:
        labels.add_row(row.label, str(row.samples), _percent(row.agreement), _percent(row.real_agreement))
    return Group(scores, labels)


def _marked(metric: str, evaluation: Evaluation) -> str:
    small = evaluation.data.images < SMALL_DATA
    return f"{metric} {_MARK}" if small and metric in READ_ON_SMALL_DATA else metric


def _advice(evaluation: Evaluation) -> list[str]:
    lines = [f"{metric} {reason}" for metric, reason in evaluation.left_out.items()]
    if evaluation.data.images < SMALL_DATA:
        lines.append(f"{_MARK} read first below {SMALL_DATA} images: no count biases it")
    return lines


def write_json(evaluation: Evaluation, folder: Path) -> Path:
    """Writes ``scores.json`` into a folder, and returns its path. Raises ``TrainingError`` if it cannot."""
    path = folder / SCORES_FILE
    write_atomic(path, (evaluation.model_dump_json(indent=2) + "\n").encode())
    return path


def write_card(evaluation: Evaluation, bundle: Path) -> Path:
    """Writes the scores into a bundle's card, and returns the card's path.

    Scores by the same judge on the same number of samples are replaced, others stay. Raises ``TrainingError``.
    """
    path = bundle / CARD_FILE
    try:
        card = Card.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"cannot read {path}, so the scores were not added to it") from error
    new = tuple(score.for_card() for score in evaluation.scores)
    # Those that were left out this time, too: an earlier version may have defined them otherwise.
    replaced = {(score.judge, score.samples) for score in new}
    others = tuple(score for score in card.scores if (score.judge, score.samples) not in replaced)
    changed = card.model_copy(update={"scores": (*others, *new)})
    write_atomic(path, (changed.model_dump_json(indent=2) + "\n").encode())
    return path


def write_picture(evaluation: Evaluation, target: EvalTarget, reference: Reference, folder: Path) -> Path:
    """Writes ``evaluation.png``: real beside generated images, and generated above their nearest training images."""
    fakes = np.concatenate(
        [images for images, _ in generate_batches(target, reference.data, _ROWS * _COLUMNS, evaluation.seed)]
    )
    queries = fakes[:_NEIGHBOURS]
    nearest = reference.nearest_images(reference.judge(queries)[0])
    beside = [
        _captioned("real", reference.real_images(_ROWS * _COLUMNS), _COLUMNS),
        _captioned("generated", fakes, _COLUMNS),
    ]
    below = [
        _captioned("generated", queries, _NEIGHBOURS),
        _captioned(
            f"the training image nearest to each, in the features of {evaluation.judge_name}", nearest, _NEIGHBOURS
        ),
    ]
    width = max(sum(part.width for part in beside) + 3 * _MARGIN, below[0].width + 2 * _MARGIN)
    height = beside[0].height + sum(part.height for part in below) + 4 * _MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(beside[0], (_MARGIN, _MARGIN))
    canvas.paste(beside[1], (beside[0].width + 2 * _MARGIN, _MARGIN))
    top = beside[0].height + 2 * _MARGIN
    for part in below:
        canvas.paste(part, (_MARGIN, top))
        top += part.height + _MARGIN
    path = folder / PICTURE_FILE
    write_atomic(path, _png(canvas))
    return path


def _captioned(text: str, images: NDArray[np.uint8], columns: int) -> Image.Image:
    picture = image_grid(images, columns).convert("RGB")
    zoom = max(1, _SMALLEST_CELL // images.shape[1])
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    whole = Image.new("RGB", (picture.width, picture.height + _CAPTION), "white")
    ImageDraw.Draw(whole).text((0, 0), text, fill="black", font_size=12)
    whole.paste(picture, (0, _CAPTION))
    return whole


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
