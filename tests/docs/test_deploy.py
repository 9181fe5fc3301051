"""The specification of deploy.md is complete: its snippet, which needs no blitznet, finds what the predictor finds."""

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from blitznet.api import load
from blitznet.core.packaged_files import WEIGHTS
from support.snippets import ROOT, blocks

SNIPPET = next(block.text for block in blocks(ROOT / "docs" / "how-to" / "deploy.md", "python"))


def test_the_snippet_agrees_with_the_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(WEIGHTS / "blitznet300-lite.onnx", "mine.onnx")
    names: dict[str, object] = {}
    shutil.copy(WEIGHTS / "samples" / "cat.jpg", "image.jpg")
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(SNIPPET, "deploy.md", "exec"), names)
    predict = names["predict"]
    assert callable(predict)
    predictor = load("mine.onnx", engine="onnxruntime", threads=1)
    for stem in ("cat", "astronaut"):
        shutil.copy(WEIGHTS / "samples" / f"{stem}.jpg", "image.jpg")
        detections = predict("image.jpg", 0.05)
        expected = predictor("image.jpg", min_score=0.05)
        assert len(expected) == len(detections) > 0
        assert [name for _, name, _ in detections] == [detection.class_name for detection in expected]
        np.testing.assert_allclose([score for score, _, _ in detections], expected.scores, atol=1e-4)
        np.testing.assert_allclose([box for _, _, box in detections], expected.boxes, atol=0.05)
