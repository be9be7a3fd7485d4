"""Renders a bundle's card as the README of a repository on the Hugging Face Hub."""

from collections.abc import Iterable

import yaml

from models.bundle import Card, Score, TrainingRecord


def render_model_card(card: Card, url: str, samples: str | None) -> str:
    """Returns the README in Markdown, with the Hub's metadata in YAML before it.

    ``url`` is where services find the bundle, ``samples`` the path of its sample images in the repository.
    """
    metadata = {
        "license": "other",  # the Hub knows licences by their identifiers only; the card's text follows below
        "license_name": "see-below",
        "pipeline_tag": "unconditional-image-generation",
        "library_name": "onnx",
        "tags": ["gan", "image-generation", "onnx", "figment", card.architecture],
    }
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---",
        f"# {card.name}",
        f"A generator of images ({_size(card)}), trained and exported with Figment. All of its images are made by an "
        "AI model.",
        f"![Sample images]({samples})" if samples else "",
        "## Serve it",
        f"```sh\nFIGMENT_MODELS={url} make serve\n"
        f"curl -s 'localhost:3000/images/{card.name}/42.png?version={card.version}' -o image.png\n```",
        f"Without Figment: `{card.name}/{card.version}/generator.onnx` takes `noise` float32 [N, {card.noise_dim}]"
        + (", `label` int64 [N]" if card.labels else "")
        + " and `truncation` float32 [N], and returns `images` uint8 [N, height, width, channels].",
        *_scores(card.scores),
        "## What it is",
        _table(("", ""), _facts(card)),
        "## Licence",
        card.licence,
        "## Intended use",
        card.intended_use,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _size(card: Card) -> str:
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[card.image.channels]
    return f"{card.image.width} × {card.image.height}, {kind}"


def _scores(scores: Iterable[Score]) -> list[str]:
    rows = [
        (score.metric, f"{score.value:.4g}", _number(score.floor), _number(score.ceiling), score.samples, score.judge)
        for score in scores
    ]
    if not rows:
        return []
    header = ("metric", "value", "of real images", "of noise", "images", "protocol")
    return ["## How good it is", _table(header, rows)]


def _facts(card: Card) -> list[tuple[str, object]]:
    return [
        ("version", card.version),
        ("created", f"{card.created:%Y-%m-%d}"),
        ("architecture", card.architecture),
        ("precision", card.precision),
        ("labels", ", ".join(card.labels) if card.labels else "none"),
        ("SHA-256 of the graph", f"`{card.sha256}`"),
        *_training(card.training),
    ]


def _training(training: TrainingRecord | None) -> list[tuple[str, object]]:
    if training is None:
        return [("training", "unknown")]
    data = training.dataset
    facts: list[tuple[str, object]] = [
        ("trained on", f"{data.name}, {data.images} images"),
        ("images seen", training.images_seen),
    ]
    if training.initial:
        facts.append(("started from", f"{training.initial.name}, trained on {training.initial.dataset.name}"))
    return facts


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")  # a label may hold any character
