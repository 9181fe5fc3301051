from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from blitznet.data.yolo import open_yolo
from blitznet.integrations.yolo import to_yolo_data_yaml, to_yolo_lines
from blitznet.postprocess.result import Result
from support.results import RESULTS


@pytest.mark.parametrize("result", RESULTS)
def test_yolo_labels_are_read_back(result: Result, tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name / "train").mkdir(parents=True)
    Image.new("RGB", result.size[::-1]).save(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train" / "a.txt").write_text(to_yolo_lines(result))
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{to_yolo_data_yaml(result.class_names)}")
    sample = open_yolo(tmp_path, "train", title="a")[0]
    np.testing.assert_allclose(sample.boxes, result.boxes, atol=1e-3)
    assert sample.labels.tolist() == result.labels.tolist()


@pytest.mark.parametrize("class_names", [("cat", "dog"), ("a: b", "no", '"', "12", "ä # é")])
def test_data_yaml_quotes_class_names(class_names: tuple[str, ...]) -> None:
    assert yaml.safe_load(to_yolo_data_yaml(class_names)) == {"names": dict(enumerate(class_names))}


def test_scores_are_appended_on_request() -> None:
    lines = to_yolo_lines(RESULTS[0], scores=True).splitlines()
    assert [float(line.split()[-1]) for line in lines] == pytest.approx(RESULTS[0].scores.tolist(), abs=1e-6)
