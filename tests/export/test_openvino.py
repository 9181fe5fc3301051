from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec
from blitznet.export.formats import export
from blitznet.export.onnx import to_onnx
from blitznet.export.openvino import write_openvino
from blitznet.export.verify import EagerEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support.exported_models import NMS_SPEC, small_network
from support.fake_engines import SPEC

IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SPEC.size, 3), np.uint8)


@pytest.mark.parametrize("nms", [False, True], ids=["raw", "nms"])
def test_outputs_are_those_of_the_network_for_any_batch_size(tmp_path: Path, nms: bool) -> None:
    path = tmp_path / "a.openvino"
    export(small_network(), NMS_SPEC, path, "openvino", nms=nms)
    engine = OpenVinoEngine(path, threads=1)
    assert engine.spec == NMS_SPEC
    for batch in (2, 1):
        expected, actual = (
            EagerEngine(small_network(), NMS_SPEC, nms=nms).run(IMAGES[:batch]),
            engine.run(IMAGES[:batch]),
        )
        assert isinstance(actual, NmsOutputs if nms else Outputs)
        for name in actual.__slots__:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-3)


def test_the_file_is_an_uncompressed_zip_with_exact_weights(tmp_path: Path) -> None:
    net = small_network()
    net.stem.weight.data = net.stem.weight.data.half().float()
    write_openvino(to_onnx(net, SPEC), SPEC, tmp_path / "a.openvino")
    assert len(list(tmp_path.iterdir())) == 1
    with ZipFile(tmp_path / "a.openvino") as file:
        assert file.namelist() == ["spec.json", "model.xml", "model.bin"]
        assert {entry.compress_type for entry in file.infolist()} == {ZIP_STORED}
        assert Spec.from_json(file.read("spec.json").decode()) == SPEC
        weights, graph = file.read("model.bin"), file.read("model.xml")
    assert net.stem.weight.detach().numpy().astype(np.float16).tobytes() in weights
    assert net.logits.weight.detach().numpy().tobytes() in weights
    assert str(tmp_path).encode() not in graph


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/a\.openvino: cannot be written \(.*\)"):
        write_openvino(to_onnx(small_network(), SPEC), SPEC, tmp_path / "file" / "a.openvino")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Check 'bin_file.good()' failed at src/core/src/pass/serialize.cpp:1")

    monkeypatch.setattr("openvino.serialize", fail)
    with pytest.raises(UsageError, match=r"a\.openvino: OpenVINO cannot write its temporary files into .*; free space"):
        write_openvino(to_onnx(small_network(), SPEC), SPEC, tmp_path / "a.openvino")
    assert not list(tmp_path.iterdir())
