"""Write the toy files of this version: `python tests/released/make.py VERSION`; README.md says when."""

import os
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from blitznet.api import open_engine
from blitznet.core.outputs import Outputs
from blitznet.export.formats import export
from blitznet.nets.model_files import load_model
from blitznet.train import loop
from support.released_files import FOLDER, images, register, run_config, write_set


def main(version: str) -> None:
    """Train the toy network, export it and store its outputs; pack everything but the training set."""
    register()
    archive = FOLDER / f"{version}.tar.xz"
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "plot_log", lambda *_: None)  # no later version reads the plot
        os.chdir(folder)
        net, spec = load_model(loop.train(run_config(write_set())))
        export(net, spec, Path("model.onnx"))
        export(net, spec, Path("model-nms.onnx"), nms=True)
        outputs = open_engine("model.onnx", engine="onnxruntime", threads=1).run(images())
        assert isinstance(outputs, Outputs)
        np.savez_compressed("outputs.npz", offsets=outputs.offsets, logits=outputs.logits)
        with tarfile.open(archive, "w:xz") as file:
            for path in ("run/config.json", "run/state.safetensors", "run/last.safetensors", "run/log.jsonl"):
                file.add(path)
            for path in ("model.onnx", "model-nms.onnx", "outputs.npz"):
                file.add(path)


if __name__ == "__main__":
    main(sys.argv[1])
