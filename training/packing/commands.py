"""The command ``pack``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.errors import TrainingError


def pack(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="ONNX, TorchScript, torch.export, or package.module:function.")
    ],
    to: Annotated[Path | None, typer.Option(help="The folder of bundles, such as models/zoo.")] = None,
    name: Annotated[str | None, typer.Option(help="The generator's name.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print what is found out, and stop.")] = False,
    weights: Annotated[Path | None, typer.Option(help="The weights for package.module:function.")] = None,
    noise: Annotated[str | None, typer.Option(help="The name of the noise input.")] = None,
    noise_shape: Annotated[
        str | None, typer.Option(help="The sizes of one image's noise, such as 100 or 100,1,1.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The name of the label input.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The number of labels, their names (cat,dog), or a file with one name a line.")
    ] = None,
    truncation: Annotated[
        str | None, typer.Option(help="The name of the truncation input, or 'scale' to scale the noise.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="The name of the output with the images.")] = None,
    layout: Annotated[Literal["nchw", "nhwc"] | None, typer.Option(help="The layout of the images.")] = None,
    value_range: Annotated[
        Literal["-1..1", "0..1", "0..255"] | None, typer.Option("--range", help="The range of the images' values.")
    ] = None,
    freeze_random: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Replace random noise by constants from this seed.")
    ] = None,
    architecture: Annotated[str | None, typer.Option(help="For the card: the kind of network.")] = None,
    licence: Annotated[str | None, typer.Option(help="For the card: the terms of use.")] = None,
    intended_use: Annotated[str | None, typer.Option(help="For the card: what the generator is for.")] = None,
) -> None:
    """Makes a bundle of a generator that was trained elsewhere.

    What the options leave open is found out by looking at the graph and running it once.

    Example: python -m training pack generator.onnx --to models/zoo --name faces --dry-run
    """
    from training.packing.options import PackOptions
    from training.packing.pack import UNKNOWN, About
    from training.packing.pack import pack as pack_file

    options = PackOptions(
        noise=noise,
        noise_shape=None if noise_shape is None else _shape(noise_shape),
        label=label,
        labels=None if labels is None else _labels(labels),
        truncation=truncation,
        output=output,
        layout=layout,
        value_range=value_range,
        freeze_random=freeze_random,
    )
    about = About(architecture or UNKNOWN, licence or UNKNOWN, intended_use or UNKNOWN)
    if (folder := pack_file(file, weights, to, name, options, about, dry_run)) is not None:
        print(folder)


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts) or len(parts) not in (1, 3):
        raise TrainingError(f"--noise-shape is {text!r}; it is the size of one image's noise, such as 100 or 100,1,1")
    return tuple(map(int, parts))


def _labels(text: str) -> int | tuple[str, ...]:
    if text.isdecimal():
        if int(text) < 1:
            raise TrainingError("--labels is 0; leave it out for a generator without labels")
        return int(text)
    path = Path(text)
    try:
        lines = path.read_text().splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"--labels {text}: cannot be read as text ({error})") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise TrainingError(f"--labels {text[:60]!r}: names must be there, and differ from each other")
    return names
