"""LitServe with its own batching."""

import os
from typing import Any

import litserve
from work import MAX_BATCH, Generator


class Images(litserve.LitAPI):
    """Takes one seed a request; LitServe forms batches."""

    def setup(self, device: str) -> None:
        """Opens the generator in the worker's process."""
        self._generator = Generator()

    def decode_request(self, request: dict[str, Any]) -> int:
        """Returns the seed."""
        seed: int = request["seeds"][0]
        return seed

    def batch(self, inputs: list[int]) -> list[int]:
        """Returns the list, which is a batch already."""
        return inputs

    def predict(self, x: list[int]) -> list[str]:
        """Returns a base64 PNG for each seed."""
        pngs: list[str] = self._generator.pngs(x)
        return pngs

    def unbatch(self, output: list[str]) -> list[str]:
        """Returns the batch, which is a list already."""
        return output

    def encode_response(self, output: str) -> list[str]:
        """Returns the body."""
        return [output]


if __name__ == "__main__":
    server = litserve.LitServer(Images(max_batch_size=MAX_BATCH, batch_timeout=0.002), accelerator="cpu")
    server.run(port=int(os.environ["PORT"]), host="127.0.0.1", log_level="error", generate_client_file=False)
