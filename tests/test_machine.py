"""CPUs and memory are what the control groups allow, of either version, at whatever level the limit is."""

import os
from pathlib import Path

import pytest

from app import machine

GIB = 2**30


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 CPUs without limits."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIPS", tmp_path / "memberships")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "memberships").write_text("")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_without_limits_there_are_the_cpus_of_the_affinity_and_all_memory(cgroups: Path) -> None:
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (64, None)
    (cgroups / "memberships").unlink()
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (64, None)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("10000 100000", 1),
        ("280000 100000", 3),
        ("240000 100000", 2),
    ],
)
def test_a_quota_of_version_2_counts(cgroups: Path, quota: str, cpus: int) -> None:
    write(cgroups / "memberships", "0::/")
    write(cgroups / "cgroup/cpu.max", quota)
    assert machine.available_cpus() == cpus


@pytest.mark.parametrize("level", ["", "a/", "a/b/"])
def test_a_limit_of_a_group_above_counts_too(cgroups: Path, level: str) -> None:
    write(cgroups / "memberships", "0::/a/b")
    write(cgroups / f"cgroup/{level}cpu.max", "200000 100000")
    write(cgroups / f"cgroup/{level}memory.max", str(GIB))
    write(cgroups / "cgroup/a/b/c/cpu.max", "100000 100000")  # not above
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (2, GIB)


@pytest.mark.parametrize(("inside", "above"), [(2, 8), (8, 2)])
def test_of_several_limits_the_smallest_counts(cgroups: Path, inside: int, above: int) -> None:
    write(cgroups / "memberships", "0::/a/b")
    for folder, limit in (("a/b", inside), ("a", above)):
        write(cgroups / f"cgroup/{folder}/cpu.max", f"{limit}00000 100000")
        write(cgroups / f"cgroup/{folder}/memory.max", str(limit * GIB))
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (2, 2 * GIB)


def test_limits_of_version_1_count_in_a_container_that_sees_its_own_group_at_the_root(cgroups: Path) -> None:
    write(cgroups / "memberships", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc")
    write(cgroups / "cgroup/cpu/cpu.cfs_quota_us", "50000")
    write(cgroups / "cgroup/cpu/cpu.cfs_period_us", "100000")
    write(cgroups / "cgroup/memory/memory.limit_in_bytes", str(GIB))
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (1, GIB)


def test_no_limit_of_version_1_is_none(cgroups: Path) -> None:
    write(cgroups / "memberships", "4:memory:/\n3:cpu:/")
    write(cgroups / "cgroup/cpu/cpu.cfs_quota_us", "-1")
    write(cgroups / "cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert (machine.available_cpus(), machine.memory_limit_bytes()) == (64, None)


def test_what_the_kernel_killed_for_want_of_memory_is_counted_in_either_version(cgroups: Path) -> None:
    assert machine.oom_kills() == 0
    write(cgroups / "memberships", "0::/a")
    write(cgroups / "cgroup/a/memory.events", "low 0\noom 7\noom_kill 3")
    assert machine.oom_kills() == 3
    write(cgroups / "memberships", "4:memory:/b")
    write(cgroups / "cgroup/memory/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2")
    assert machine.oom_kills() == 2
