from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.api import open_engine
from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import UsageError
from blitznet.core.outputs import Outputs
from blitznet.export.formats import SUFFIXES, export
from blitznet.export.rewrite import rewrite
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from support.small_networks import small_spec

SPEC = small_spec()


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", pytest.param(".openvino", marks=pytest.mark.slow)])
def test_rewrite_changes_the_spec_and_not_the_outputs(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path = build(SPEC).eval(), tmp_path / f"net{suffix}"
    formats = {suffix: format_name for format_name, suffix in SUFFIXES.items()}
    if suffix == ".safetensors":
        save_model(path, net, SPEC, dtype=torch.float16)
    else:
        export(net, SPEC, path, formats[suffix])
    size, images = path.stat().st_size, np.random.default_rng(0).integers(0, 256, (1, *SPEC.size, 3), np.uint8)
    before = open_engine(path).run(images)
    new_spec = replace(
        SPEC, score_calibration=PlattScaling(1.25), segmentation_temperature=0.8, provenance="another text"
    )
    for out in (tmp_path / f"other{suffix}", path):
        rewrite(path, new_spec, out)
        engine = open_engine(out)
        assert engine.spec == new_spec
        after = engine.run(images)
        assert isinstance(before, Outputs)
        assert isinstance(after, Outputs)
        for name in ("offsets", "logits", "segmentation_logits"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert out.stat().st_size == pytest.approx(size, abs=500)


def test_rewrite_rejects_a_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"net.pt2: expected a .safetensors, .onnx, .openvino file, got '.pt2'"):
        rewrite(tmp_path / "net.pt2", SPEC, tmp_path / "out.pt2")
