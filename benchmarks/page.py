"""The page of measured speed, docs/benchmarks.md, out of what the commands wrote as JSON; nothing is typed by hand.

`python benchmarks/page.py --bench bench.json --others peers.json roofline.json finish.json`
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from blitznet.report.markdown import grid

OUT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Speed

Every figure here comes from a command, which stands above it with its date, machine and versions. This page is
written by `python benchmarks/page.py` from what the commands wrote as JSON; what each one times, and what must
hold, is told in [benchmarks/README.md](../benchmarks/README.md).
"""


@dataclass(frozen=True)
class Options:
    """What the page is made of."""

    bench: tuple[Path, ...] = ()
    """files that `blitznet bench --json` wrote"""
    others: tuple[Path, ...] = ()
    """files that the commands of benchmarks/ wrote with --json, if they hold tables"""
    picture: Path | None = None
    """that peers.py drew, in the page's folder"""
    out: Path = OUT


def main(options: Options) -> None:
    """Write the page."""
    parts = [HEAD, *map(of_bench, options.bench), *map(of_command, options.others)]
    if options.picture:
        parts.append(f"![Frames per second against accuracy]({options.picture.name})\n")
    options.out.write_text("\n".join(parts), encoding="utf-8")


def of_bench(path: Path) -> str:
    """A section of `blitznet bench`."""
    found = json.loads(path.read_text())
    stages = list(dict.fromkeys(stage for row in found["rows"] for stage in row["stages"]))
    rows = [
        (row["model"], row["engine"], row["precision"], *_stages(row, stages), *_sums(row)) for row in found["rows"]
    ]
    columns = ("model", "engine", "precision", *stages, "frames/s", "stream/s", "MB")
    note = (
        f"Milliseconds, median / 95th percentile; {found['images']} images of {found['image_size']}, batch 1; total is "
        "from an RGB array to boxes and full-size class map, measured by itself; "
        "stream/s: images a second of a stream, on every thread one; MB: the most memory the process held."
    )
    return f"## {found['command']}\n\n{_where(found)}\n\n{grid(columns, rows)}\n\n{note}\n"


def of_command(path: Path) -> str:
    """A section of one of the benchmarks: its tables, then what was promised."""
    found = json.loads(path.read_text())
    parts = [f"## {found['command']}\n\n{_where(found)}"]
    for table in found["tables"]:
        parts.append(f"**{table['title']}**\n\n{grid(table['columns'], table['rows'])}")
        parts += [f"{note[:1].upper()}{note[1:]}." for note in table["notes"]]
    if found.get("verdicts"):
        rows = [(one["what"], one["wanted"], one["measured"], _word(one["holds"])) for one in found["verdicts"]]
        parts.append(grid(("what", "wanted", "measured", ""), rows))
    return "\n\n".join(parts) + "\n"


def _word(holds: bool) -> str:
    return "holds" if holds else "**fails**"


def _stages(row: dict[str, Any], stages: Sequence[str]) -> list[str]:
    found = [row["stages"].get(stage) for stage in stages]
    return [f"{one['median']:.2f} / {one['p95']:.2f}" if one else "-" for one in found]


def _sums(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['frames_per_second']:.1f}", f"{row['streamed_per_second']:.1f}", f"{row['peak_memory']:.0f}"


def _where(found: dict[str, Any]) -> str:
    """Date, machine, threads, versions."""
    here = found["machine"]
    versions = {**found["versions"], **found.get("engines", {})}
    threads = found.get("threads", found.get("options", {}).get("threads"))
    return (
        f"{found['date'][:10]}; {here['processor']}, {here['cores']} cores, {here['system']}; "
        f"{'' if threads is None else f'threads: {threads}; '}"
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}."
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
