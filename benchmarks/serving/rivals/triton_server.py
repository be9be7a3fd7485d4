"""NVIDIA Triton with its Python backend, by PyTriton: noise and PNGs need Python."""

import os
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from work import MAX_BATCH, Generator

generator = Generator()


@batch
def images(seed: Any) -> dict[str, Any]:
    """Returns a base64 PNG for each seed."""
    return {"png": np.array([[png.encode()] for png in generator.pngs(seed[:, 0])], dtype=object)}


port = int(os.environ["PORT"])
ports = TritonConfig(http_port=port, http_address="127.0.0.1", grpc_port=port + 1, metrics_port=port + 2)
with Triton(config=ports) as triton:
    triton.bind(
        "images",
        images,
        inputs=[Tensor(name="seed", dtype=np.int64, shape=(1,))],
        outputs=[Tensor(name="png", dtype=bytes, shape=(1,))],
        config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    triton.serve()
