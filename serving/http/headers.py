"""The names of headers that more than one room reads or writes."""

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Bytes of the JSON before binary tensors, as Triton's extension of the protocol calls it."""

GENERATION_HEADERS = ("X-Figment-Model", "X-Figment-Version", "X-Figment-Seeds", "Server-Timing")
"""On every answer with generated images."""
