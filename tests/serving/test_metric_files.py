"""A full disk under the metrics of several workers costs metrics, and never a worker."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import mmap_dict

from serving.metric_files import ReservedFile

SERIES = 4000  # more than the first 64 KiB hold

WRITER = f"""
import resource, signal, sys
from serving.metric_files import ReservedFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
file = ReservedFile(sys.argv[1])
for number in range({SERIES}):
    file.write_value(f"series {{number}}", float(number), 0.0)
    file.write_value(f"series {{number}}", float(number), 0.0)
print(sum(file.read_value(f"series {{number}}")[0] == number for number in range(1, {SERIES})))
"""


def write(file: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Writes many series in a process whose files cannot become larger than ``limit``: a full disk for everyone."""
    command = [sys.executable, "-c", WRITER, str(file), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("limit", "kept"), [(2**20, SERIES - 1), (2**16, None), (2**15, 0)])
def test_series_without_room_are_dropped_and_the_others_stay(tmp_path, limit, kept):
    file = tmp_path / "counter_1.db"
    ended = write(file, limit)
    assert ended.returncode == 0, ended.stderr
    assert ("Metrics are missing" in ended.stderr) == (limit < 2**20)
    assert ended.stderr.count("\n") <= 1
    number = int(ended.stdout)
    assert number == kept or (kept is None and 500 < number < SERIES)
    # What prometheus_client reads for /metrics: a file that is left must be readable.
    assert file.exists() == (limit >= 2**16)
    if file.exists():
        found = {key: value for key, value, *_ in mmap_dict.MmapedDict.read_all_values_from_file(str(file))}
        assert sum(found[key] == float(key.split()[1]) for key in found if key != "series 0") == number


def test_blocks_are_on_the_disk_before_they_are_used(tmp_path):
    """Without them, the kernel ends the process with SIGBUS at the first write to a full disk."""
    file = tmp_path / "counter_1.db"
    reserved = ReservedFile(str(file))
    for number in range(SERIES):
        reserved.write_value(f"series {number}", 1.0, 0.0)
        state = file.stat()
        assert state.st_blocks * 512 >= state.st_size
    assert file.stat().st_size > 2**16
    reserved.close()


def test_a_file_of_a_worker_before_is_continued(tmp_path):
    first = ReservedFile(str(tmp_path / "counter_1.db"))
    first.write_value("series", 3.0, 0.0)
    first.close()
    again = ReservedFile(str(tmp_path / "counter_1.db"))
    assert again.read_value("series") == (3.0, 0.0)
    again.close()
