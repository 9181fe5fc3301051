"""Processes that are killed with SIGKILL at a random moment.

They are forked from a server that has imported torch already, so hundreds of kills take minutes.
"""

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file

from blitznet.cli.main import main
from blitznet.train.config import TrainConfig
from support import tiny_models, training_runs

_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOAD = ["blitznet.train.loop", "blitznet.export.exporter", "matplotlib.pyplot", "support.kills"]


def start(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a function of a module in a process of its own."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def start_training(config: TrainConfig) -> BaseProcess:
    """Start or resume a run in a process of its own."""
    return start(_train, config.to_json())


def _train(fields: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # of the loader processes, as in a run from a shell
    training_runs.main(fields)


def wait_until_ended(process: BaseProcess) -> None:
    """Wait for a process that is not killed."""
    process.join(600)
    assert process.exitcode == 0


def kill_within(process: BaseProcess, seconds: float, rng: random.Random) -> bool:
    """Kill a process at a random moment of its first `seconds`; returns False if it had ended before."""
    process.join(rng.uniform(0, seconds))
    if process.exitcode is None:
        process.kill()
        process.join()
        return True
    assert process.exitcode == 0
    return False


def kill_between_writes(process: BaseProcess, log: Path, writes: int, rng: random.Random) -> bool:
    """Kill a process at a random moment before, or up to one line after, its next `writes` writes to a log.

    Moments are counted in lines, not in seconds, so they are spread over the whole run however slow the machine is.

    Returns:
        False if the process had ended before.
    """
    changes, target, interval = 0, rng.randrange(writes + 1), 2.0
    size, changed = _size(log), time.monotonic()
    while changes < target and process.exitcode is None:
        time.sleep(0.005)
        if _size(log) != size:
            now = time.monotonic()
            size, interval, changed, changes = _size(log), now - changed, now, changes + 1
    return kill_within(process, min(interval, 10.0), rng)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def require_whole_files(folder: Path) -> None:
    """Check that every file of a run folder that has a final name is complete."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                image.load()
        elif path.name == "best.txt":
            assert len(path.read_text().split()) == 2


def temporary_files(folder: Path) -> list[str]:
    """Names of the files that an interrupted write left."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def run_command(*words: str) -> None:
    """Run a command of blitznet; the process ends with its exit code."""
    tiny_models.register()
    raise SystemExit(main(list(words)))


def visible_files(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder that are not hidden, nor in a hidden folder, by their path below it."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.as_posix(): (folder / path).read_bytes()
        for path in paths
        if not any(part.startswith(".") for part in path.parts)
    }
