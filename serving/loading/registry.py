"""Finds the loaded engine that a request names."""

import logging
from collections.abc import Iterable, Iterator

from serving.errors import ApiError, ErrorCode
from serving.inference.engine import Engine

logger = logging.getLogger("figment.catalogue")

_SHOWN_CHARACTERS = 64


class ModelRegistry:
    """The loaded engines by name and version."""

    def __init__(self, engines: Iterable[Engine] = (), default: str = "") -> None:
        """``default`` is the model of requests that name none; it need not be loaded."""
        self._models: dict[str, dict[int, Engine]] = {}
        for engine in engines:
            self._models.setdefault(engine.card.name, {})[engine.card.version] = engine
        self.default = default
        if self._models and default not in self._models:
            logger.error("The default model, %s, is not loaded: requests must name their model", default)
        self.longest_noise = max((engine.card.noise_dim for engine in self), default=0)

    def __iter__(self) -> Iterator[Engine]:
        return (self._models[name][version] for name in sorted(self._models) for version in sorted(self._models[name]))

    def find(self, model: str | None, version: int | None) -> Engine:
        """Returns the engine of a model (``None``: the default) and a version (``None``: the newest).

        Raises ``ApiError`` if there is none.
        """
        name = self.default if model is None else model
        versions = self._models.get(name)
        if not versions:
            problem = (
                f"there is no model {_shortened(name)}"
                if model is not None
                else f"the default, {_shortened(name)}, is not loaded"
            )
            raise ApiError(ErrorCode.NOT_FOUND, f"model: {problem}; see GET /models.")
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise ApiError(ErrorCode.NOT_FOUND, f"version: {_shortened(name)} has no version {version}, but {known}.")
        return versions[version]


def _shortened(name: str) -> str:
    return repr(name[:_SHOWN_CHARACTERS])
