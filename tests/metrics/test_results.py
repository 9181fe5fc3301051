from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.results import read_results, writing
from support.metric_cases import NAMES, drawn, result, sample

HEAD = '{"blitznet": "results", "names": ["cat"], "tasks": ["detection"]}\n'


def test_comes_back_exactly(tmp_path: Path) -> None:
    found, truth = drawn(np.random.default_rng(0), "1")
    with writing(tmp_path / "new" / "r.jsonl", NAMES, ("detection",)) as writer:
        writer.add("a", truth, found)
        writer.add("a", sample("2"), result())
    stored = read_results(tmp_path / "new" / "r.jsonl")
    assert (stored.class_names, stored.tasks) == (NAMES, ("detection",))
    back = stored.answer("a", truth)
    for name in ("boxes", "scores", "labels", "class_map"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
    empty = stored.answer("a", sample("2"))
    assert (len(empty), empty.class_map, empty.size) == (0, None, (100, 100))


def test_a_run_that_is_cut_off_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing(tmp_path / "r.jsonl", NAMES, ()):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_image_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(HEAD)
    with pytest.raises(DataError, match="nothing about image '3' of 'b'; name the sets as they were named"):
        read_results(tmp_path / "r.jsonl").answer("b", sample("3"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a result file"),
        ("[]\n", "not a result file"),
        ('{"blitznet": "spec"}\n', "not a result file"),
        (HEAD + "{}\n", "line 2 cannot be read"),
        (
            HEAD + '{"set": "a", "id": "1", "width": 2, "height": 2, "boxes": [[0, 0, 1, 1]], "scores": [0.5], '
            '"labels": [1], "class_map": null}\n',
            r"line 2 cannot be read \(labels outside 0..0\)",
        ),
        (HEAD + '{"set": "a", "id": "1", "width": 2, "height": 2, "boxes": [[0, 0, 1]]}\n', "line 2 cannot be read"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "r.jsonl")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "r.jsonl")
