"""The server against the same work done in process: images a second, errors, and how long an answer takes.

In process: JPEG bytes through `Predictor.stream`, each result as JSON. The server: `blitznet serve` in a process of its
own, and `wrk` (Debian's package of that name) as its clients, on this machine: they share the processors.

`python benchmarks/server.py --json server.json`
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

from blitznet import load
from blitznet.bench.timing import load_bench_image
from report import DATA, require_images, say, write
from tables import Table, at_least, at_most, print_all

SHARE = 0.70
"""of the rate in process, that the server shall reach"""
SIZE = (375, 500)


@dataclass(frozen=True)
class Options:
    """How hard the server is asked."""

    root: Path = DATA
    clients: int = 32
    seconds: int = 60
    images: int = 16
    """JPEGs of 500x375, each client sends them in turn"""
    warm: int = 40
    """images before the clock starts"""
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One way."""

    way: str
    rate: float
    """images a second"""
    median_ms: float | None
    p99_ms: float | None
    errors: int


def in_process(jpegs: list[bytes], options: Options) -> Row:
    """The predictor's own rate, as JSON."""
    predictor = load()
    end = begun = time.monotonic()
    count = 0
    with closing(predictor.stream(cycle(jpegs), min_score=0.5, class_map=False)) as stream:
        for seen in islice(stream, options.warm):
            assert seen.result is not None
        begun = time.monotonic()
        for seen in stream:
            assert seen.result is not None
            json.dumps(seen.result.to_dict())
            count, end = count + 1, time.monotonic()
            if end - begun > options.seconds:
                break
    return Row("in process", count / (end - begun), None, None, 0)


@contextmanager
def serving() -> Iterator[str]:
    """A server's address."""
    words = [sys.executable, "-m", "blitznet", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        try:
            yield found.group(0)
        finally:
            process.terminate()


def asked(jpegs: list[bytes], options: Options) -> Row:
    """The server's rate, asked by all clients at once."""
    with serving() as address, TemporaryDirectory() as folder:
        script = _script(Path(folder), jpegs)
        url = f"{address}/v1/predict"
        _wrk(url, script, options.clients, 3)  # warm
        return _wrk(url, script, options.clients, options.seconds)


def _script(folder: Path, jpegs: list[bytes]) -> Path:
    """What tells wrk to send the images in turn, and to tell what it found as JSON."""
    for number, jpeg in enumerate(jpegs):
        (folder / f"{number}.jpg").write_bytes(jpeg)
    script = folder / "ask.lua"
    script.write_text(_LUA.replace("FOLDER", str(folder)).replace("COUNT", str(len(jpegs))))
    return script


_LUA = """
local bodies, turn = {}, 0
for i = 0, COUNT - 1 do
  local file = io.open("FOLDER/" .. i .. ".jpg", "rb")
  bodies[i] = file:read("*all")
  file:close()
end
request = function()
  turn = (turn + 1) % COUNT
  return wrk.format("POST", nil, {["Content-Type"] = "image/jpeg"}, bodies[turn])
end
done = function(summary, latency, requests)
  local e = summary.errors
  local wrong = e.connect + e.read + e.write + e.status + e.timeout
  local told = '{"requests": %d, "microseconds": %d, "errors": %d, "p50": %f, "p99": %f}\\n'
  local p50, p99 = latency:percentile(50), latency:percentile(99)
  io.write(string.format(told, summary.requests, summary.duration, wrong, p50, p99))
end
"""


def _wrk(url: str, script: Path, clients: int, seconds: int) -> Row:
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    told = json.loads(said.splitlines()[-1])
    rate = 1e6 * told["requests"] / told["microseconds"]
    return Row(f"server, {clients} clients", rate, told["p50"] / 1000, told["p99"] / 1000, told["errors"])


def main(options: Options) -> None:
    """In process first, then the server."""
    require_images(options.root)
    if shutil.which("wrk") is None:
        print("skipped: there is no wrk; `apt-get install wrk` brings it")
        return
    folder = options.root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    paths = sorted(folder.glob("*.jpg"))[: options.images]
    jpegs = [load_bench_image(path, SIZE).jpeg for path in paths]
    rows = []
    for way in (in_process, asked):
        say(way.__name__)
        rows.append(way(jpegs, options))
    own, server = rows
    table = Table(
        "the server and the same work in process",
        ("way", "images/s", "median ms", "p99 ms", "errors"),
        [(row.way, f"{row.rate:.1f}", _ms(row.median_ms), _ms(row.p99_ms), str(row.errors)) for row in rows],
        ("500x375 JPEGs to JSON; the clients share the processors with the server",),
    )
    verdicts = [
        at_least("the server's rate, of that in process", server.rate / own.rate, SHARE),
        at_most("answers that were errors", server.errors, 0),
    ]
    print_all([table], verdicts)
    write(options.json, options, rows=rows, tables=[table], verdicts=verdicts)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
