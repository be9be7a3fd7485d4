"""The ground floor of the house: what a generator is, how it is packed, what its noise means."""

import os

# From 1.29 on, ONNX Runtime on Linux reports what it runs to its maker, from the moment when it is imported, unless it
# is told not to: https://github.com/microsoft/onnxruntime/pull/27379. Every import of it comes after this one.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
