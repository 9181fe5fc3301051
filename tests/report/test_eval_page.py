import re
from pathlib import Path

import pytest

from blitznet.core.sample import Sample
from blitznet.metrics.evaluate import accumulate, compute_report
from blitznet.postprocess.result import Result
from blitznet.report.eval_page import MAX_IMAGES, Evaluation, write_eval_page
from support.metric_cases import MemoryDataset, result, sample

A, B = (10, 10, 30, 30), (40, 40, 80, 80)


def write_page(
    path: Path, datasets: list[MemoryDataset], results: dict[str, Result]
) -> tuple[list[tuple[str, str]], list[int]]:
    """Names and notes of the images on the page, and the progress that was reported."""

    def predict(title: str, truth: Sample) -> Result:
        return results[truth.id]

    states, calls = accumulate(predict, datasets), list[int]()
    report = compute_report([dataset.title for dataset in datasets], states)
    evaluation = Evaluation(report=report, states=states, datasets=datasets, predict=predict)
    write_eval_page(path, "small", evaluation, lambda _, done, total: calls.append(done))
    return re.findall(r"<figcaption><strong>([^<]*)</strong> (F1[^<]*)<", path.read_text()), calls


def test_the_worst_images_of_all_sets_are_first(tmp_path: Path) -> None:
    """One image with all objects found, one with half, one with none, and one of the second set with half."""
    truths = [sample(name, [A, B], [0, 0]) for name in ("all", "half", "none")]
    results = {
        "all": result([A, B], [0, 0], [0.9, 0.8]),
        "half": result([A, B], [0, 1], [0.9, 0.8]),
        "none": result([A, B], [0, 0], [0.2, 0.1]),
        "more": result([A], [0], [0.9]),
    }
    datasets = [MemoryDataset("first", tuple(truths)), MemoryDataset("second", (sample("more", [A, B], [0, 0]),))]
    assert write_page(tmp_path / "a.html", datasets, results) == (
        [
            ("first none", "F1 0.0, mean IoU -"),
            ("first half", "F1 50.0, mean IoU -"),
            ("second more", "F1 66.7, mean IoU -"),
        ],
        [1, 2, 3],
    )


@pytest.mark.parametrize("count", [0, 40])
def test_number_of_images_is_limited(count: int, tmp_path: Path) -> None:
    truths = tuple(sample(f"{n}", [A], [0]) for n in range(count or 1))
    results = {truth.id: result() if count else result([A], [0], [0.9]) for truth in truths}
    images, _ = write_page(tmp_path / "a.html", [MemoryDataset("single", truths)], results)
    assert [name for name, _ in images] == [f"{n}" for n in range(min(count, MAX_IMAGES))]
    assert ("None of the scored images" in (tmp_path / "a.html").read_text()) == (not count)
