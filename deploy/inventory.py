"""Lists the packages that are installed beside this Python: an SBOM (CycloneDX 1.6), and the texts of their licences.

    python deploy/inventory.py FOLDER [VERSION]

writes ``sbom.cdx.json`` and ``THIRD_PARTY_LICENSES.txt`` into FOLDER. The image's build runs it, with the image's own
packages and nothing but the standard library. Exits with one sentence if a package names no licence at all.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

_LICENCE_FILE = re.compile(r"(?:licen[cs]e|copying|notice|authors)", re.IGNORECASE)

_CLASSIFIER = "License :: "

# Installers of the build. They are removed from the image afterwards.
_NOT_SHIPPED = frozenset({"pip", "setuptools"})


def package_name(distribution: Distribution) -> str:
    """Returns the name as PyPI normalises it."""
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()


def licence_of(distribution: Distribution) -> dict[str, Any] | None:
    """Returns the licence as CycloneDX writes it: an SPDX expression or a name; ``None`` if the package names none."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return {"expression": metadata["License-Expression"]}
    stated = metadata["License"].strip() if "License" in metadata else ""
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith(_CLASSIFIER)]
    # Some packages put the whole text into the field.
    if stated and "\n" not in stated and stated.upper() != "UNKNOWN":
        return {"license": {"name": stated}}
    if classifiers:
        return {"license": {"name": ", ".join(line.rpartition(" :: ")[2] for line in classifiers)}}
    return {"license": {"name": stated.splitlines()[0]}} if stated else None


def licence_texts(distribution: Distribution) -> list[str]:
    """Returns the texts of the licence files that the package brings."""
    files = [file for file in distribution.files or () if file.suffix != ".py" and _LICENCE_FILE.match(file.name)]
    texts = [Path(str(file.locate())).read_text("utf-8", "replace").strip() for file in sorted(files)]
    return [*dict.fromkeys(texts)]


def component(distribution: Distribution) -> dict[str, Any]:
    """Returns a package as a component of the SBOM."""
    name, version = package_name(distribution), distribution.version
    address = f"pkg:pypi/{name}@{version}"
    licence = licence_of(distribution)
    if licence is None and not licence_texts(distribution):
        sys.exit(
            f"{name} {version} names no licence and brings no licence file: find out under which one it is shipped."
        )
    return {
        "type": "library",
        "bom-ref": address,
        "name": name,
        "version": version,
        "purl": address,
        **({"licenses": [licence]} if licence else {}),
    }


def main(folder: Path, version: str) -> None:
    """Writes both files."""
    found = {package_name(each): each for each in distributions()}
    packages = [found[name] for name in sorted(found.keys() - _NOT_SHIPPED)]
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "figment", "name": "figment", "version": version}},
        "components": [component(each) for each in packages],
    }
    (folder / "sbom.cdx.json").write_text(json.dumps(sbom, indent=1) + "\n")
    sections = []
    for each in packages:
        texts = licence_texts(each) or ["(The package brings no licence file.)"]
        licence = licence_of(each)
        stated = "" if licence is None else licence.get("expression") or licence["license"]["name"]
        sections.append("\n\n".join([f"{package_name(each)} {each.version}  {stated}\n{'=' * 78}", *texts]))
    (folder / "THIRD_PARTY_LICENSES.txt").write_text("\n\n\n".join(sections) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(str(__doc__))
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "unknown")
