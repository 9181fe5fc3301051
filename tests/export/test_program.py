from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec
from blitznet.export.program import export_program
from blitznet.export.verify import EagerEngine
from blitznet.nets.program_engine import ProgramEngine
from support.exported_models import NMS_SPEC, small_network
from support.fake_engines import SPEC
from support.small_networks import small_spec

IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SPEC.size, 3), np.uint8)


@pytest.mark.parametrize("nms", [False, True], ids=["raw", "nms"])
def test_outputs_are_those_of_the_network_for_any_batch_size(tmp_path: Path, nms: bool) -> None:
    path = tmp_path / "a.pt2"
    export_program(small_network(), NMS_SPEC, path, nms=nms)
    engine = ProgramEngine(path)
    assert engine.spec == NMS_SPEC
    for batch in (1, 3):
        expected, actual = (
            EagerEngine(small_network(), NMS_SPEC, nms=nms).run(IMAGES[:batch]),
            engine.run(IMAGES[:batch]),
        )
        assert isinstance(actual, NmsOutputs if nms else Outputs)
        for name in actual.__slots__:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-5)


@pytest.mark.slow
def test_bfloat16_kernels_are_stored_and_computed_in_it(tmp_path: Path) -> None:
    from blitznet.nets.blitznet import build

    torch.manual_seed(0)
    net, spec = build(small_spec()), small_spec()
    images = np.random.default_rng(0).integers(0, 256, (1, *spec.size, 3), np.uint8)
    sizes = []
    for precision in ("float32", "bfloat16"):
        path = tmp_path / f"{precision}.pt2"
        export_program(net, replace(spec, precision=precision), path)
        with ZipFile(path) as file:
            sizes.append(sum(entry.file_size for entry in file.infolist() if "/weight_" in entry.filename))
    assert sizes[1] < 0.51 * sizes[0]
    assert next(net.parameters()).dtype == torch.float32, "the network itself is unchanged"
    expected, actual = EagerEngine(net, spec).run(images), ProgramEngine(path).run(images)
    assert isinstance(expected, Outputs)
    assert isinstance(actual, Outputs)
    assert expected.segmentation_logits is not None
    assert actual.segmentation_logits is not None
    difference = np.abs(actual.segmentation_logits - expected.segmentation_logits).max()
    assert 1e-4 < difference / expected.segmentation_logits.std() < 0.2


def test_the_file_contains_no_source_paths_or_images(tmp_path: Path) -> None:
    export_program(small_network(), SPEC, tmp_path / "a.pt2")
    content = (tmp_path / "a.pt2").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"exported_models.py" not in content
    with ZipFile(tmp_path / "a.pt2") as file:
        assert Spec.from_json(file.read("archive/extra/blitznet").decode()) == SPEC
        stored = [file.read(entry) for entry in file.infolist() if "sample_inputs" in entry.filename]
    assert max(map(len, stored)) < 2 * 3 * SPEC.size[0] * SPEC.size[1] + 4096
    assert all(content.count(0) > 0.8 * len(content) for content in stored)  # black pixels
