"""BentoML's own batching, as its documentation has it."""

import bentoml
from work import MAX_BATCH, Generator


@bentoml.service(workers=1, traffic={"timeout": 30})
class Images:
    """One seed a request, of which BentoML makes batches."""

    def __init__(self) -> None:
        self._generator = Generator()

    @bentoml.api(route="/images", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=2000)
    def images(self, seeds: list[int]) -> list[str]:
        """A base64 PNG for each seed."""
        pngs: list[str] = self._generator.pngs(seeds)
        return pngs
