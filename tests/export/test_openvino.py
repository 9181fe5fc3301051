from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec
from blitznet.export.formats import export
from blitznet.export.onnx import raw_model
from blitznet.export.openvino import write_openvino
from blitznet.export.verify import Eager
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support.exported_models import BRIEF, small
from support.fake_engines import SPEC

IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SPEC.size, 3), np.uint8)


@pytest.mark.parametrize("nms", [False, True], ids=["raw", "finished"])
def test_answers_as_the_network_does_for_any_batch(tmp_path: Path, nms: bool) -> None:
    path = tmp_path / "a.openvino"
    export(small(), BRIEF, path, "openvino", nms=nms)
    engine = OpenVinoEngine(path, threads=1)
    assert engine.spec == BRIEF
    for batch in (2, 1):
        expected, actual = Eager(small(), BRIEF, nms=nms).run(IMAGES[:batch]), engine.run(IMAGES[:batch])
        assert isinstance(actual, NmsOutputs if nms else Outputs)
        for name in actual.__slots__:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-3)


def test_one_zip_and_nothing_lost(tmp_path: Path) -> None:
    net = small()
    net.stem.weight.data = net.stem.weight.data.half().float()
    write_openvino(raw_model(net, SPEC), SPEC, tmp_path / "a.openvino")
    assert len(list(tmp_path.iterdir())) == 1
    with ZipFile(tmp_path / "a.openvino") as file:
        assert file.namelist() == ["contract.json", "model.xml", "model.bin"]
        assert {entry.compress_type for entry in file.infolist()} == {ZIP_STORED}
        assert Spec.from_json(file.read("contract.json").decode()) == SPEC
        weights, graph = file.read("model.bin"), file.read("model.xml")
    assert net.stem.weight.detach().numpy().astype(np.float16).tobytes() in weights
    assert net.logits.weight.detach().numpy().tobytes() in weights
    assert str(tmp_path).encode() not in graph


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/a\.openvino: cannot be written \(.*\)"):
        write_openvino(raw_model(small(), SPEC), SPEC, tmp_path / "file" / "a.openvino")
