import numpy as np
import pytest
import torch

from blitznet.integrations.torchvision import to_torchvision
from blitznet.postprocess.result import Result
from support.results import EMPTY, RESULTS


@pytest.mark.parametrize("result", [*RESULTS, EMPTY])
def test_torchvision_labels_start_at_one(result: Result) -> None:
    output = to_torchvision(result, masks=True)
    assert output["boxes"].shape == (len(result), 4)
    assert output["labels"].dtype == torch.int64
    assert output["labels"].tolist() == [label + 1 for label in result.labels.tolist()]
    assert output["scores"].tolist() == result.scores.tolist()
    for index in range(len(result)):
        np.testing.assert_array_equal(output["masks"][index, 0].numpy(), result.instances().mask(index))
    assert "masks" not in to_torchvision(result)
