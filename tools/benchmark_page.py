"""Write docs/reference/speed.md from the JSON files that the timing commands wrote.

`python tools/benchmark_page.py` reads docs/reference/speed/*.json. To update a section, write the JSON of its command
there and run this script again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from blitznet.report.markdown import markdown_table

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
HEAD = """# Speed

Every figure comes from the command above it, with date, machine and versions. `python tools/benchmark_page.py` writes
this page from the JSON files in `docs/reference/speed`. `benchmarks/README.md` explains what each command measures. The
model is `blitznet300-lite` v1 unless another one is named. AP50 and mIoU are over 676 images: the evaluation sets have
grown since, and the README has the scores on all 1,102 images.

Times are in milliseconds, as median / 95th percentile, with batch size 1. They depend on the machine, so compare
figures of one section only. [Evaluation protocol](../explanation/evaluation-protocol.md#speed) explains how they are
measured.
"""
FIGURE = """![Frames per second against accuracy](../images/speed.png)

*Frames per second against accuracy. `python -m benchmarks.competitors.run` draws this figure.*
"""


@dataclass(frozen=True)
class Options:
    """Flags of this script."""

    results: tuple[Path, ...] = ()
    """JSON files, one for each section. Default: all of docs/reference/speed, in the order of their names."""
    out: Path = REFERENCE / "speed.md"
    """Page to write. Default: docs/reference/speed.md."""


def main(options: Options) -> None:
    """Write the page."""
    options.out.write_text(render(options.results or default_results()), encoding="utf-8")


def default_results() -> tuple[Path, ...]:
    """The JSON files in docs/reference/speed."""
    return tuple(sorted((REFERENCE / "speed").glob("*.json")))


def render(paths: Sequence[Path]) -> str:
    """The page as Markdown."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    sections = [benchmark_section(result) if "tables" in result else bench_section(result) for result in results]
    return "\n".join([HEAD, *sections, FIGURE])


def bench_section(result: dict[str, Any]) -> str:
    """A section of `blitznet bench --json`."""
    stages = list(dict.fromkeys(stage for row in result["rows"] for stage in row["stages"]))
    rows = [
        (row["model"], row["engine"], row["precision"], *_stage_times(row, stages), *_totals(row))
        for row in result["rows"]
    ]
    columns = ("model", "engine", "precision", *stages, "frames/s", "stream/s", "MB")
    note = (
        f"{result['images']} images of {result['image_size']}. Total: from an RGB array to boxes and full-size class "
        "map, timed by itself. Stream: images per second with one single-threaded replica per core. MB: peak memory."
    )
    return f"{_heading(result)}\n\n{markdown_table(columns, rows)}\n\n{note}\n"


def benchmark_section(result: dict[str, Any]) -> str:
    """A section of a script in benchmarks: its tables, then its goals."""
    parts = [_heading(result)]
    for table in result["tables"]:
        parts.append(f"**{table['title'][:1].upper()}{table['title'][1:]}**")
        parts.append(markdown_table(table["columns"], table["rows"]))
        parts += [f"{note[:1].upper()}{note[1:]}." for note in table["notes"]]
    if result.get("goals"):
        rows = [(goal["what"], goal["goal"], goal["measured"], _outcome(goal["met"])) for goal in result["goals"]]
        parts.append(markdown_table(("what", "goal", "measured", ""), rows))
    return "\n\n".join(parts) + "\n"


def _outcome(met: bool) -> str:
    return "met" if met else "**missed**"


def _stage_times(row: dict[str, Any], stages: Sequence[str]) -> list[str]:
    times = [row["stages"].get(stage) for stage in stages]
    return [f"{time['median']:.2f} / {time['p95']:.2f}" if time else "-" for time in times]


def _totals(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['frames_per_second']:.1f}", f"{row['streamed_per_second']:.1f}", f"{row['peak_memory']:.0f}"


def _heading(result: dict[str, Any]) -> str:
    """The command as a heading, then date, machine, threads and versions."""
    machine = result["machine"]
    versions = {**result["versions"], **result.get("engines", {})}
    threads = result.get("threads", result.get("options", {}).get("threads"))
    facts = [result["date"][:10], f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"]
    if threads is not None:
        facts.append(f"threads: {threads}")
    facts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return f"## {result['command']}\n\n{'; '.join(facts)}."


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
