"""Opens the file of a generator that was trained elsewhere, whatever wrote it. Runs no pickle."""

import hashlib
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from models.bundle import OriginRecord
from training.errors import TrainingError
from training.packing.checks import RunOriginal
from training.packing.onnx_files import normalise, read_onnx
from training.packing.options import PackOptions

_ADVICE = "export it as ONNX, TorchScript or a torch.export program, or name a function that builds it and --weights"


@dataclass(frozen=True)
class Source:
    """A generator as an ONNX graph, and what runs it in its own framework, if that is here."""

    model: onnx.ModelProto
    original: RunOriginal | None
    options: PackOptions
    """The user's options, and what has been found out on the way."""
    origin: OriginRecord


def open_source(file: str, weights: Path | None, options: PackOptions) -> Source:
    """Opens an ONNX file, a TorchScript or ``torch.export`` program, or ``package.module:function``.

    Raises ``TrainingError`` if it is none of these.
    """
    path = Path(file)
    if path.is_dir():
        raise TrainingError(
            f"{path} is a folder; pack takes one file. A TensorFlow SavedModel becomes ONNX with tf2onnx"
        )
    if not path.exists():
        return _open_factory(file, weights, options)
    if weights is not None:
        raise TrainingError("--weights belongs to package.module:function; a file holds its own weights")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    kind = _kind(content, path)
    origin = OriginRecord(file=path.name, sha256=digest, format=kind, producer=None)
    if kind == "onnx":
        model = read_onnx(path)
        producer = f"{model.producer_name} {model.producer_version}".strip() or None
        return Source(model, None, options, origin.model_copy(update={"producer": producer}))
    # PyTorch takes two seconds to import, and ONNX needs none of it.
    from training.packing.torch_export import export_program, original_runner
    from training.packing.torch_files import open_exported_program, open_torchscript

    if kind == "torchscript":
        return _from_module(open_torchscript(content, path.name), options, origin)
    program = open_exported_program(content, path.name)
    model = normalise(export_program(program), path)
    return Source(model, original_runner(program.module(), model, by_name=False), options, origin)


def _open_factory(file: str, weights: Path | None, options: PackOptions) -> Source:
    from training.packing.torch_files import FACTORY, build

    if not FACTORY.match(file):
        raise TrainingError(f"{file} is not there; FILE is a file, or package.module:function")
    digest = None
    if weights is not None:
        try:
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        except OSError as error:
            raise TrainingError(f"--weights {weights}: cannot be read ({error.strerror})") from error
    origin = OriginRecord(
        file=file if weights is None else weights.name, sha256=digest, format="factory", producer=file
    )
    return _from_module(build(file, weights), options, origin)


def _from_module(module: object, options: PackOptions, origin: OriginRecord) -> Source:
    from torch import nn

    from training.packing.torch_arguments import find_call
    from training.packing.torch_export import export_module, original_runner

    assert isinstance(module, nn.Module)
    call = find_call(module, options)
    model = normalise(export_module(module, call), Path(origin.file))
    found = replace(options, noise=call.noise, label=call.label, truncation=call.truncation or "scale")
    return Source(model, original_runner(module, model, by_name=True), found, origin)


def _kind(content: bytes, path: Path) -> str:
    """Returns what a file is, by its content. Raises ``TrainingError`` for what pack does not take."""
    if content[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = archive.namelist()
        except zipfile.BadZipFile as error:
            raise TrainingError(f"{path}: is a damaged archive ({error})") from error
        if any(member.endswith("/constants.pkl") for member in members):
            return "torchscript"
        if any("/models/" in member and member.endswith(".json") for member in members):
            return "torch.export"
        if any(member.endswith("data.pkl") for member in members):
            raise TrainingError(f"{path}: {_PICKLE}; {_ADVICE}")
        raise TrainingError(f"{path}: is an archive, but no program of PyTorch: {_ADVICE}")
    if content[:1] == b"\x80":
        raise TrainingError(f"{path}: {_PICKLE}; {_ADVICE}")
    if content[:8] == b"\x89HDF\r\n\x1a\n":
        raise TrainingError(f"{path}: is a file of Keras: convert it to ONNX with tf2onnx first")
    if not content:
        raise TrainingError(f"{path}: is empty")
    return "onnx"


_PICKLE = "is a pickle, as torch.save writes it: it is never opened, since a pickle can run any code"
