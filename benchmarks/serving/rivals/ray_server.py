"""Ray Serve with its own batching."""

import os

import ray
from ray import serve
from starlette.requests import Request
from work import MAX_BATCH, Generator


@serve.deployment(max_ongoing_requests=200)
class Images:
    """Takes one seed a request; Ray Serve forms batches."""

    def __init__(self) -> None:
        self._generator = Generator()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.002)
    async def pngs(self, seeds: list[int]) -> list[list[str]]:
        """Returns a base64 PNG for each seed."""
        return [[png] for png in self._generator.pngs(seeds)]

    async def __call__(self, request: Request) -> object:
        """Answers a request."""
        return await self.pngs((await request.json())["seeds"][0])


if __name__ == "__main__":
    ray.init(num_cpus=int(os.environ["THREADS"]), log_to_driver=False, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Images.bind(), blocking=True, route_prefix="/images")
