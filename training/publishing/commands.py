"""The command ``push``."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder of a bundle, NAME/VERSION.")],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Where bundles are published: s3://bucket/folder, gs://…, az://…, hf://user/repository, or "
            "file:///folder, such as one that a web server serves.",
        ),
    ],
    version: Annotated[
        int | None, typer.Option(min=1, help="Publishes it as this version. Default: the bundle's own.")
    ] = None,
) -> None:
    """Publishes a bundle. Services whose FIGMENT_MODELS is that URL then serve it.

    Example: python -m training push models/zoo/digits/3 s3://my-bucket/zoo
    """
    from training.publishing.push import push

    published = push(bundle, url, version)
    print(f"{published}\nServe it: FIGMENT_MODELS={published.rsplit('/', 2)[0]} make serve")
