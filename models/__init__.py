"""Defines what training and serving share: networks, the bundle format, and the noise of a seed."""

import os

# From 1.29 on, ONNX Runtime on Linux reports usage to its vendor from its import on, unless this variable is set:
# https://github.com/microsoft/onnxruntime/pull/27379. Every import of ONNX Runtime comes after this import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
