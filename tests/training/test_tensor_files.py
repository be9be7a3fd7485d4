"""A file of tensors from a stranger runs no code, and takes no more memory than it has bytes."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.limited_memory import run_limited
from training.errors import TrainingError
from training.evaluation.judge.network import load_judge
from training.runs.checkpoints import read_best, read_newest
from training.runs.initial_networks import InitialSource, read_networks
from training.tensor_files import read_tensors


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def repacked(content: bytes, compression: int) -> bytes:
    """Returns the same archive, compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return packed.getvalue()


def test_tensors_and_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"w": torch.arange(6.0).reshape(2, 3).T, "n": {"a": [1, "x", None]}}))
    read = read_tensors(path)
    assert torch.equal(read["w"], torch.arange(6.0).reshape(2, 3).T)
    assert read["n"] == {"a": [1, "x", None]}


@pytest.mark.parametrize("old_format", [False, True])
def test_no_reader_runs_code(tmp_path: Path, old_format: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "000000000001.pt"
    path.write_bytes(saved({"generator": Evil(marker)}, _use_new_zipfile_serialization=not old_format))
    source = InitialSource.model_construct(run="", record=None)
    for read in (
        lambda: read_tensors(path),
        lambda: read_newest(tmp_path),
        lambda: read_best(path),
        lambda: load_judge(path),
        lambda: read_networks(tmp_path, source),
    ):
        (tmp_path / "initial.pt").write_bytes(path.read_bytes())
        with pytest.raises(TrainingError):
            read()
        (tmp_path / "initial.pt").unlink()
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file is as evil as it looks"


def test_an_archive_that_inflates_is_refused(tmp_path: Path) -> None:
    """256 MB of zeros in 260 kB; PyTorch inflates them."""
    path = tmp_path / "a.pt"
    path.write_bytes(repacked(saved({"w": torch.zeros(2**26)}), zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 2**19
    imports = "from pathlib import Path\nfrom training.errors import TrainingError\n"
    imports += "from training.tensor_files import read_tensors"
    code = "try:\n    read_tensors(Path(sys.argv[1]))\nexcept TrainingError as error:\n    print(error)"
    said = run_limited(imports, code, 64, str(path))
    assert said == f"cannot read {path} (its content is compressed, which torch.save never does)"


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(1).expand(10**6, 10**6), "fewer values than that"),
        (torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), (10**12,)), "sparse"),
    ],
)
def test_a_tensor_larger_than_its_values_is_refused(tmp_path: Path, tensor: torch.Tensor, reason: str) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"deep": [{"w": tensor}]}))
    assert path.stat().st_size < 2**13
    with pytest.raises(TrainingError, match=reason):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not tensors", b"\x80\x02}q\x00."])
def test_other_files_are_refused_with_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"cannot read .*a\.pt \(it is cut off, or was not written by torch"):
        read_tensors(path)


def test_a_pipe_is_refused_and_a_missing_file_is_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(TrainingError, match="it is not a regular file"):
        read_tensors(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "b.pt")


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = saved({"w": torch.arange(3000.0), "v": torch.ones(7)})
    path = tmp_path / "a.pt"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(TrainingError):
            read_tensors(path)


@pytest.mark.parametrize("content", [{"w": torch.ones(1)}, {"generator": {}, "half_life": 1}])
def test_a_file_of_another_kind_is_no_best_generator(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "best.pt").write_bytes(saved(content))
    with pytest.raises(TrainingError, match="does not hold the best generator of a run"):
        read_best(tmp_path / "best.pt")


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """torch.load compares no checksums: of 300 flipped bits in a checkpoint, 269 were other weights in silence."""
    path, weights = tmp_path / "a.pt", torch.arange(500.0)
    good = saved({"w": weights, "seen": 64})
    refused = 0
    for position in range(3, 8 * len(good), 101):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            read = read_tensors(path)
        except TrainingError:
            refused += 1
        else:
            assert torch.equal(read["w"], weights)
            assert read["seen"] == 64
    assert refused > 100
