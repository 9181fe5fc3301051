"""Free memory as Linux and its cgroups state it."""

from pathlib import Path

from blitznet.core.memory import available_memory


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:  16000 kB\nMemAvailable:  8000 kB\n"}


def test_without_a_limit_it_is_what_the_system_has(tmp_path: Path) -> None:
    assert available_memory(write(tmp_path, MEMINFO)) == 8000 * 1024


def test_the_tightest_cgroup_of_version_2_counts(tmp_path: Path) -> None:
    files = MEMINFO | {
        "proc/self/cgroup": "0::/slice/job\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/fs/cgroup/memory.current": "5\n",
        "sys/fs/cgroup/slice/memory.max": "6000000\n",
        "sys/fs/cgroup/slice/memory.current": "4000000\n",
        "sys/fs/cgroup/slice/memory.stat": "anon 100\ninactive_file 500000\n",
        "sys/fs/cgroup/slice/job/memory.max": "7000000\n",
        "sys/fs/cgroup/slice/job/memory.current": "1000000\n",
    }
    assert available_memory(write(tmp_path, files)) == 2_500_000


def test_a_cgroup_of_version_1_counts(tmp_path: Path) -> None:
    files = MEMINFO | {
        "proc/self/cgroup": "9:cpu,cpuacct:/other\n4:memory:/docker/1\n",
        "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "3000000\n",
        "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes": "1000000\n",
    }
    assert available_memory(write(tmp_path, files)) == 2_000_000


def test_without_proc_it_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    total = available_memory(tmp_path)
    assert total is not None
    assert total > (available_memory() or 0) / 2


def test_a_cgroup_beyond_its_limit_has_none_left(tmp_path: Path) -> None:
    files = MEMINFO | {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "10\n",
        "sys/fs/cgroup/memory.current": "30\n",
    }
    assert available_memory(write(tmp_path, files)) == 0
