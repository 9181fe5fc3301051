"""Mutation testing of the core: which changes of the code no test notices.

    python -m tools.mutation                     # all modules, hours
    python -m tools.mutation panoptic nms        # those whose path contains a word
    make mutation

mutmut changes one expression of a function at a time and runs the tests of its module. It does so in a copy of the
repository, `build/mutation/MODULE`, one process at the lowest priority. A second run continues an interrupted one.
Functions with decorators, constants and class bodies are not changed. `build/mutation/report.md` has the score of each
module that ran completely, and the names of the mutants that survived; `mutmut show NAME` in the copy prints one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "mutation"
PACKAGE = "src/blitznet"
TARGETS: dict[str, tuple[str, ...]] = {
    "metrics/nanmath.py": ("tests/metrics/test_nanmath.py",),
    "metrics/confusion.py": ("tests/metrics/test_confusion.py",),
    "metrics/miou.py": ("tests/metrics/test_miou.py",),
    "metrics/panoptic.py": ("tests/metrics/test_panoptic.py",),
    "metrics/calibration/ece.py": ("tests/metrics/calibration/test_ece.py",),
    "metrics/matching.py": ("tests/metrics/test_matching.py", "tests/metrics/test_voc_ap.py"),
    "metrics/voc_ap.py": ("tests/metrics/test_voc_ap.py",),
    "metrics/coco_ap.py": ("tests/metrics/test_coco_ap.py",),
    "metrics/bootstrap.py": ("tests/metrics/test_bootstrap.py",),
    "core/boxes.py": ("tests/core/test_boxes.py",),
    "core/rle.py": ("tests/core/test_rle.py",),
    "core/anchors.py": ("tests/core/test_anchors.py",),
    "postprocess/nms.py": ("tests/postprocess/test_nms.py", "tests/postprocess/test_postprocess.py"),
    "postprocess/decode.py": ("tests/postprocess/test_decode.py", "tests/postprocess/test_postprocess.py"),
    "train/boxes.py": ("tests/train/test_matching.py",),
    "train/matching.py": ("tests/train/test_matching.py",),
    "train/losses.py": ("tests/train/test_losses.py",),
    "data/voc.py": ("tests/data/test_voc.py", "tests/data/test_voc_sbd.py"),
    "data/coco.py": ("tests/data/test_coco.py",),
    "data/yolo.py": ("tests/data/test_yolo.py",),
    "data/sbd.py": ("tests/data/test_sbd.py",),
    "data/darknet.py": ("tests/data/test_darknet.py",),
    "data/masks.py": ("tests/data/test_masks.py", "tests/data/test_coco.py"),
    "data/labelme.py": ("tests/data/test_labelme.py",),
    "data/via.py": ("tests/data/test_via.py",),
}
"""module below src/blitznet -> its test files, the cheapest modules first"""
_SURVIVED = {"survived", "no tests", "suspicious"}
_COMPLETE = {*_SURVIVED, "timeout", "segfault", "skipped"}
"""states of mutants that were not killed, as mutmut lists them, after a complete run"""
_SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["{package}/{module}"]
pytest_add_cli_args = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
pytest_add_cli_args_test_selection = [{tests}]
process_isolation = "forkserver"
use_git_change_detection = false
"""


@dataclass(frozen=True, slots=True)
class Score:
    """Outcome of one module."""

    module: str
    killed: int
    total: int
    survivors: tuple[str, ...]

    @property
    def fraction(self) -> float:
        """Killed mutants of all, 0..1; 1 without mutants."""
        return self.killed / self.total if self.total else 1.0


def prepare(module: str, tests: Sequence[str]) -> Path:
    """The copy of the repository in which a module is changed; the results of an earlier run stay."""
    folder = FOLDER / module.removesuffix(".py").replace("/", "-")
    for name in ("src", "tests", "benchmarks", "tools"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    listed = ", ".join(json.dumps(test) for test in tests)
    settings = _SETTINGS.format(package=PACKAGE, module=module, tests=listed)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)
    return folder


def run(module: str, tests: Sequence[str]) -> Score | None:
    """Test all mutants of a module; None if mutmut did not complete them."""
    folder = prepare(module, tests)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["nice", "-n", "19", sys.executable, "-m", "mutmut"]
    for words in (["run", "--max-children", "1"], ["export-cicd-stats"]):
        completed = subprocess.run([*command, *words], cwd=folder, env=environment, check=False)
        if completed.returncode:
            return None
    listing = subprocess.run([*command, "results"], cwd=folder, env=environment, capture_output=True, text=True)
    stats = json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text())
    return read_score(module, stats, listing.stdout.splitlines())


def read_score(module: str, stats: dict[str, int], listing: Iterable[str]) -> Score | None:
    """The score of mutmut's counts and of its list of mutants that were not killed; None if some were not tested.

    A mutant that never ends or crashes the process is killed: the tests do not pass. One that no test runs survived.
    """
    states = dict(line.strip().split(": ", 1) for line in listing if ": " in line)
    if not {*states.values()} <= _COMPLETE:
        return None
    survivors = tuple(name for name, state in states.items() if state in _SURVIVED)
    killed = sum(stats[name] for name in ("killed", "timeout", "segfault"))
    return Score(module, killed, stats["total"] - stats["skipped"], survivors)


def report(scores: Sequence[Score]) -> str:
    """The scores as a table, and the survivors."""
    lines = ["| module | mutants | killed | score |", "|---|---:|---:|---:|"]
    lines += [f"| `{s.module}` | {s.total} | {s.killed} | {100 * s.fraction:.0f} % |" for s in scores]
    total = Score("all", sum(s.killed for s in scores), sum(s.total for s in scores), ())
    lines += [f"| all | {total.total} | {total.killed} | {100 * total.fraction:.0f} % |", ""]
    lines += [f"- `{name}`" for score in scores for name in score.survivors]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    """Test the modules whose path contains one of the words, or all; 1 if one did not complete."""
    selected = {module: tests for module, tests in TARGETS.items() if not words or any(w in module for w in words)}
    scores: list[Score] = []
    for module, tests in selected.items():
        score = run(module, tests)
        if score is not None:
            scores.append(score)
            (FOLDER / "report.md").write_text(report(scores))
    print(report(scores))
    return 0 if len(scores) == len(selected) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
