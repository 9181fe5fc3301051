"""The server against the same work in process: images per second, errors, latency.

In process: JPEG bytes through `Predictor.stream`, each result as JSON. Server: `blitznet serve` in its own process,
with `wrk` (Debian package wrk) as clients on this machine, so server and clients share the processors.

`python -m benchmarks.speed.server --json server.json`
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from benchmarks._lib.results import (
    DATA,
    Table,
    at_least,
    at_most,
    notify,
    print_results,
    require_images,
    write_json,
)
from blitznet import load
from blitznet.bench.timing import load_bench_image

RATE_FRACTION = 0.70
"""goal: rate of the server as a fraction of the rate in process"""
SIZE = (375, 500)
"""(H, W) of the images"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    clients: int = 32
    """Concurrent clients. Default: 32."""
    seconds: int = 60
    """Duration. Default: 60."""
    images: int = 16
    """JPEGs of 500x375, which each client sends in turn. Default: 16."""
    warmup: int = 40
    """Images before the measurement in process. Default: 40."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    name: str
    rate: float
    """images per second"""
    median_ms: float | None
    p99_ms: float | None
    errors: int


def in_process(jpegs: list[bytes], options: Options) -> Row:
    """The rate of the predictor, with results as JSON."""
    predictor = load()
    end = start = time.monotonic()
    count = 0
    with closing(predictor.stream(cycle(jpegs), min_score=0.5, class_map=False)) as stream:
        for prediction in islice(stream, options.warmup):
            assert prediction.result is not None
        start = time.monotonic()
        for prediction in stream:
            assert prediction.result is not None
            json.dumps(prediction.result.to_dict())
            count, end = count + 1, time.monotonic()
            if end - start > options.seconds:
                break
    return Row("in process", count / (end - start), None, None, 0)


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server; yield its address."""
    words = [sys.executable, "-m", "blitznet", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match is not None
        try:
            yield match.group(0)
        finally:
            process.terminate()


def over_http(jpegs: list[bytes], options: Options) -> Row:
    """The rate of the server with all clients."""
    with running_server() as address, TemporaryDirectory() as folder:
        script = _script(Path(folder), jpegs)
        url = f"{address}/v1/predict"
        _wrk(url, script, options.clients, 3)  # warm-up
        return _wrk(url, script, options.clients, options.seconds)


def _script(folder: Path, jpegs: list[bytes]) -> Path:
    """A script for wrk that sends the images in turn and prints its results as JSON."""
    for index, jpeg in enumerate(jpegs):
        (folder / f"{index}.jpg").write_bytes(jpeg)
    script = folder / "requests.lua"
    script.write_text(_LUA.replace("FOLDER", str(folder)).replace("COUNT", str(len(jpegs))))
    return script


_LUA = """
local bodies, index = {}, 0
for i = 0, COUNT - 1 do
  local file = io.open("FOLDER/" .. i .. ".jpg", "rb")
  bodies[i] = file:read("*all")
  file:close()
end
request = function()
  index = (index + 1) % COUNT
  return wrk.format("POST", nil, {["Content-Type"] = "image/jpeg"}, bodies[index])
end
done = function(summary, latency, requests)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  local format = '{"requests": %d, "microseconds": %d, "errors": %d, "p50": %f, "p99": %f}\\n'
  local p50, p99 = latency:percentile(50), latency:percentile(99)
  io.write(string.format(format, summary.requests, summary.duration, errors, p50, p99))
end
"""


def _wrk(url: str, script: Path, clients: int, seconds: int) -> Row:
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    summary = json.loads(output.splitlines()[-1])
    rate = 1e6 * summary["requests"] / summary["microseconds"]
    return Row(f"server, {clients} clients", rate, summary["p50"] / 1000, summary["p99"] / 1000, summary["errors"])


def main(options: Options) -> None:
    """Measure in process, then over HTTP; print and write."""
    require_images(options.root)
    if shutil.which("wrk") is None:
        print("skipped: wrk is not installed; `apt-get install wrk` installs it")
        return
    folder = options.root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    paths = sorted(folder.glob("*.jpg"))[: options.images]
    jpegs = [load_bench_image(path, SIZE).jpeg for path in paths]
    rows = []
    for measure in (in_process, over_http):
        notify(measure.__name__)
        rows.append(measure(jpegs, options))
    local, server = rows
    table = Table(
        "the server and the same work in process",
        ("", "images/s", "median ms", "p99 ms", "errors"),
        [(row.name, f"{row.rate:.1f}", _ms(row.median_ms), _ms(row.p99_ms), str(row.errors)) for row in rows],
        ("500x375 JPEGs to JSON; the clients share the processors with the server",),
    )
    goals = [
        at_least("rate of the server, as a fraction of the rate in process", server.rate / local.rate, RATE_FRACTION),
        at_most("failed requests", server.errors, 0),
    ]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
