"""The number of cores that a container's CPU limit grants, with cgroup v1 and v2."""

import pytest

from serving.config.cores import usable_cores
from serving.config.settings import Settings


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 cores. Call it with this process's groups, mounts (root, folder, kind, options) and files."""

    def usable_cores_of(groups, mounts, files):
        monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
        monkeypatch.setattr("serving.config.cores._PROC", tmp_path / "proc")
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cgroup").write_text(groups)
        lines = ["21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"]
        lines += [
            f"{number} 21 0:{number} {root} {tmp_path}/{folder} rw,relatime shared:9 - {kind} {kind} {options}"
            for number, (root, folder, kind, options) in enumerate(mounts, 30)
        ]
        (tmp_path / "proc" / "mountinfo").write_text("\n".join(lines) + "\n")
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return usable_cores()

    return usable_cores_of


V2 = [("/", "cg", "cgroup2", "rw")]
V1 = [("/", "cg/cpu", "cgroup", "rw,cpu,cpuacct"), ("/", "cg/memory", "cgroup", "rw,memory")]


@pytest.mark.parametrize(
    ("limit", "cores"), [("200000 100000\n", 2), ("250000 100000\n", 3), ("50000 100000\n", 1), ("max 100000\n", 8)]
)
def test_v2_limit(machine, limit, cores):
    assert machine("0::/\n", V2, {"cg/cpu.max": limit}) == cores
    settings = Settings()
    assert (settings.intra_op_threads, settings.encode_threads) == (cores, cores)


def test_v2_narrowest_of_nested_groups_counts(machine):
    """A systemd unit, or a container that shares its machine's hierarchy."""
    files = {"cg/a/cpu.max": "300000 100000", "cg/a/b/cpu.max": "max 100000", "cg/a/b/c/cpu.max": "400000 100000"}
    assert machine("0::/a/b/c\n", V2, files) == 3


@pytest.mark.parametrize(("quota", "period", "cores"), [(200000, 100000, 2), (150000, 100000, 2), (-1, 100000, 8)])
def test_v1_limit(machine, quota, period, cores):
    files = {"cg/cpu/cpu.cfs_quota_us": f"{quota}\n", "cg/cpu/cpu.cfs_period_us": f"{period}\n"}
    assert machine("3:memory:/\n2:cpu,cpuacct:/\n", V1, files) == cores


def test_v1_in_a_container_that_sees_its_group_as_the_root(machine):
    """Docker on v1: the group's path is that of the machine; the mount shows only the container's group."""
    files = {"cg/cpu/cpu.cfs_quota_us": "400000", "cg/cpu/cpu.cfs_period_us": "100000"}
    files |= {"cg/cpu/inner/cpu.cfs_quota_us": "100000", "cg/cpu/inner/cpu.cfs_period_us": "100000"}
    mounts = [("/docker/3f", "cg/cpu", "cgroup", "rw,cpu,cpuacct")]
    assert machine("2:cpu,cpuacct:/docker/3f/inner\n0::/docker/3f\n", mounts, files) == 1


def test_hybrid_hierarchy(machine):
    """Both versions at once, where v2 limits nothing."""
    mounts = [*V1, ("/", "cg/unified", "cgroup2", "rw")]
    files = {"cg/cpu/x/cpu.cfs_quota_us": "500000", "cg/cpu/x/cpu.cfs_period_us": "100000"}
    assert machine("4:cpu,cpuacct:/x\n0::/user.slice\n", mounts, files) == 5


@pytest.mark.parametrize("groups", ["0::/../..\n", "0::/gone\n", ""])
def test_unreadable_limit_is_no_limit(machine, groups):
    assert machine(groups, V2, {"cg/cpu.max": "nonsense"}) == 8


def test_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr("serving.config.cores._PROC", tmp_path / "nowhere")
    assert usable_cores() == 8
