import base64
import itertools
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.data.labelme import open_labelme
from blitznet.integrations.labelme import to_labelme
from blitznet.postprocess.result import Result
from support.results import EMPTY, RESULTS


@pytest.mark.parametrize("result", [*RESULTS, EMPTY])
def test_labelme_masks_are_the_instance_masks(result: Result) -> None:
    content = to_labelme(result, "a.jpg", masks=True)
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("a.jpg", 40, 50)
    assert [shape["label"] for shape in content["shapes"]] == [result.class_names[label] for label in result.labels]
    for index, shape in enumerate(content["shapes"]):
        assert shape["shape_type"] == "mask"
        (x1, y1), (x2, y2) = shape["points"]
        mask = np.zeros(result.size, bool)
        with Image.open(BytesIO(base64.b64decode(shape["mask"]))) as crop:
            mask[y1 : y2 + 1, x1 : x2 + 1] = np.asarray(crop)
        np.testing.assert_array_equal(mask, result.instances().mask(index))


@pytest.mark.parametrize("result", [*RESULTS, EMPTY])
def test_labelme_rectangles_are_the_boxes(result: Result) -> None:
    for shape, box in zip(to_labelme(result, "a.jpg")["shapes"], result.boxes, strict=True):
        assert shape["shape_type"] == "rectangle"
        assert list(itertools.chain(*shape["points"])) == pytest.approx(box.tolist(), abs=0.01)


@pytest.mark.parametrize("masks", [False, True])
def test_labelme_files_are_read_back(masks: bool, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(to_labelme(RESULTS[0], "a.jpg", masks=masks)))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.jpg")
    sample = open_labelme(tmp_path, None, title="t")[0]
    assert len(sample.labels) == len(RESULTS[0])
    assert (sample.mask is not None) == masks
    if not masks:
        np.testing.assert_allclose(sample.boxes, RESULTS[0].boxes, atol=0.01)
