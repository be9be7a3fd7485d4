"""The paths of the Open Inference Protocol that name a model: which route each is, and which model it means."""

import re

from serving.errors import OIP_ROOT, ApiError, ErrorCode

_MODEL_PATH = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>ready|infer))?", re.ASCII | re.DOTALL
)
# Without leading zeros, as the versions of bundles are.
VERSION_PATTERN = "[1-9][0-9]{0,8}"
_VERSION = re.compile(VERSION_PATTERN, re.ASCII)


def model_templates(action: str) -> tuple[str, str]:
    """The templates of what is done with a model, without and with a version; ``""`` is its metadata."""
    end = f"/{action}" if action else ""
    return f"{OIP_ROOT}/models/{{model}}{end}", f"{OIP_ROOT}/models/{{model}}/versions/{{version}}{end}"


def template_of(path: str) -> str | None:
    """The template of a path that names a model; ``None`` for any other path."""
    match = _MODEL_PATH.fullmatch(path)
    if match is None:
        return None
    return model_templates(match["action"] or "")[match["version"] is not None]


def model_of(path: str) -> tuple[str, int | None]:
    """The model and the version, if any, that a path with a template names.

    Raises ``ApiError`` for what can be no version: it is one that does not exist.
    """
    match = _MODEL_PATH.fullmatch(path)
    assert match is not None
    version = match["version"]
    if version is None:
        return match["model"], None
    if not _VERSION.fullmatch(version):
        raise ApiError(ErrorCode.NOT_FOUND, f"version: there is no version {version[:32]!r}.")
    return match["model"], int(version)
