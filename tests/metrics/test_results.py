from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.metrics.results import open_results_writer, read_results
from support.metric_cases import NAMES, random_case, result, sample

HEADER = '{"blitznet": "results", "class_names": ["cat"], "tasks": ["detection"]}\n'
ROW = (
    '{"set": "a", "id": "1", "width": 2, "height": 2, "boxes": [[0, 0, 1, 1]], "scores": [0.5], "labels": [%d], '
    '"class_map": null}\n'
)


def test_results_are_restored_exactly(tmp_path: Path) -> None:
    predicted, truth = random_case(np.random.default_rng(0), "1")
    with open_results_writer(tmp_path / "new" / "r.jsonl", NAMES, ("detection",)) as writer:
        writer.add("a", truth, predicted)
        writer.add("a", sample("2"), result())
    stored = read_results(tmp_path / "new" / "r.jsonl")
    assert (stored.class_names, stored.tasks) == (NAMES, ("detection",))
    restored = stored.result_for("a", truth)
    for name in ("boxes", "scores", "labels", "class_map"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(predicted, name))
    empty = stored.result_for("a", sample("2"))
    assert (len(empty), empty.class_map, empty.size) == (0, None, (100, 100))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.jsonl"]


def test_interrupted_writer_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_results_writer(tmp_path / "r.jsonl", NAMES, ()):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writer_keeps_the_previous_file(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(HEADER)
    with pytest.raises(KeyError), open_results_writer(tmp_path / "r.jsonl", NAMES, ()):
        raise KeyError
    assert (tmp_path / "r.jsonl").read_text() == HEADER


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "r.jsonl"
    with pytest.raises(UsageError, match=f"{path}: cannot be written"), open_results_writer(path, NAMES, ()):
        pass


def test_image_without_prediction(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(HEADER)
    with pytest.raises(DataError, match="expected a prediction for image '3' of 'b', got none; name the sets as when"):
        read_results(tmp_path / "r.jsonl").result_for("b", sample("3"))


def test_header_of_earlier_versions(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(HEADER.replace("class_names", "names") + ROW % 0)
    stored = read_results(tmp_path / "r.jsonl")
    assert stored.class_names == ("cat",)
    assert stored.result_for("a", sample("1")).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a result file"),
        ("[]\n", "expected a result file"),
        ('{"blitznet": "spec"}\n', "expected a result file"),
        (HEADER + "{}\n", "jsonl:2: cannot be read"),
        (HEADER + ROW % 1, r"jsonl:2: cannot be read \(labels outside 0..0\)"),
        (HEADER + '{"set": "a", "id": "1", "width": 2, "height": 2, "boxes": [[0, 0, 1]]}\n', "2: cannot be read"),
    ],
)
def test_invalid_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "r.jsonl")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "r.jsonl")
