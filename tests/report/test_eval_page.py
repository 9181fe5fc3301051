import re
from pathlib import Path

import pytest

from blitznet.core.sample import Sample
from blitznet.metrics.evaluate import gather, report
from blitznet.postprocess.result import Result
from blitznet.report.eval_page import IMAGES, Scored, write_page
from support.metric_cases import Set, result, sample

A, B = (10, 10, 30, 30), (40, 40, 80, 80)


def written(path: Path, sets: list[Set], found: dict[str, Result]) -> tuple[list[tuple[str, str]], list[int]]:
    """Names and notes of the images on the page, and how many were told as done."""

    def answer(title: str, truth: Sample) -> Result:
        return found[truth.id]

    evidence, done = gather(answer, sets), list[int]()
    made = report([one.title for one in sets], evidence)
    scored = Scored(report=made, evidence=evidence, datasets=sets, answer=answer)
    write_page(path, "small", scored, [made.table(), made.table()], lambda count, _: done.append(count))
    return re.findall(r"<figcaption><strong>([^<]*)</strong> (F1[^<]*)<", path.read_text()), done


def test_the_worst_images_of_all_sets_come_first(tmp_path: Path) -> None:
    """All right, half, none, and a image of the second set whose box has one of two objects."""
    truths = [sample(name, [A, B], [0, 0]) for name in ("right", "half", "none")]
    other = sample("more", [A, B], [0, 0])
    found = {
        "right": result([A, B], [0, 0], [0.9, 0.8]),
        "half": result([A, B], [0, 1], [0.9, 0.8]),
        "none": result([A, B], [0, 0], [0.2, 0.1]),
        "more": result([A], [0], [0.9]),
    }
    sets = [Set("one", tuple(truths)), Set("two", (other,))]
    assert written(tmp_path / "a.html", sets, found) == (
        [
            ("one none", "F1 0.0, mean IoU -"),
            ("one half", "F1 50.0, mean IoU -"),
            ("two more", "F1 66.7, mean IoU -"),
        ],
        [1, 2, 3],
    )


@pytest.mark.parametrize("count", [0, 40])
def test_at_most_so_many_images(count: int, tmp_path: Path) -> None:
    truths = tuple(sample(f"{n}", [A], [0]) for n in range(count or 1))
    found = {truth.id: result() if count else result([A], [0], [0.9]) for truth in truths}
    images, _ = written(tmp_path / "a.html", [Set("one", truths)], found)
    assert [name for name, _ in images] == [f"{n}" for n in range(min(count, IMAGES))]
    assert ("None of the images" in (tmp_path / "a.html").read_text()) == (not count)
