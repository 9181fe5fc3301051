import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask

from blitznet.integrations.coco import to_coco_panoptic, to_coco_results
from blitznet.postprocess.result import Result
from support.results import EMPTY, RESULTS

CATEGORY_IDS = (10, 20, 30)


@pytest.mark.parametrize("result", [*RESULTS, EMPTY])
def test_coco_results_have_the_boxes_and_instance_masks(result: Result) -> None:
    entries = to_coco_results(result, 7, CATEGORY_IDS, masks=True)
    assert len(entries) == len(result)
    for index, entry in enumerate(entries):
        x, y, w, h = entry["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(result.boxes[index].tolist(), abs=0.02)
        assert (entry["image_id"], entry["category_id"]) == (7, 10 * (result.labels[index] + 1))
        assert entry["score"] == pytest.approx(result.scores[index], abs=1e-5)
        np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]), result.instances().mask(index))
    assert all("segmentation" not in entry for entry in to_coco_results(result, 7, CATEGORY_IDS))


@pytest.mark.parametrize("result", [*RESULTS, EMPTY])
def test_coco_panoptic_decodes_to_the_segmentation(result: Result) -> None:
    panoptic = result.panoptic()
    pixels, entry = to_coco_panoptic(panoptic, 7, CATEGORY_IDS, file_name="7.png")
    ids = pixels.astype(np.int64) @ np.array([1, 256, 256**2])
    np.testing.assert_array_equal(ids, panoptic.segmentation)
    assert (entry["image_id"], entry["file_name"]) == (7, "7.png")
    for segment in entry["segments_info"]:
        rows, columns = np.nonzero(ids == segment["id"])
        assert segment["area"] == len(rows)
        assert segment["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
