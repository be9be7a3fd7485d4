"""BentoML with its own batching, as in its documentation."""

import bentoml
from work import MAX_BATCH, Generator


@bentoml.service(workers=1, traffic={"timeout": 30})
class Images:
    """Takes one seed a request; BentoML forms batches."""

    def __init__(self) -> None:
        self._generator = Generator()

    @bentoml.api(route="/images", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=2000)
    def images(self, seeds: list[int]) -> list[str]:
        """Returns a base64 PNG for each seed."""
        pngs: list[str] = self._generator.pngs(seeds)
        return pngs
