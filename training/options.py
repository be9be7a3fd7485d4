"""Options that several commands share. Nothing here imports torch, so ``--help`` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from training.config.presets import preset_names

DATA_HELP = (
    "A folder of images (its folders are labels), a .parquet file or a folder of them, or the name of a Hugging Face "
    "data set."
)

DataOption = Annotated[str, typer.Option(help=DATA_HELP)]
PresetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PRESET or FILE.yaml]",
        help=f"A preset ({', '.join(preset_names())}) or a file. Default: what suits the images and the device.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="The folder of a run.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes a setting; may be repeated.")
]
