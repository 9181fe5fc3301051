"""A folder like that of the competitors: reference code with one detector and one segmenter of one convolution each."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.competitors.networks import Competitor

DETECTOR = Competitor("Detector", "Detector", "detector.onnx")
SEGMENTER = Competitor("Segmenter", "Segmenter", "segmenter.onnx")
SIZE = 16
REFERENCE = f"""
import numpy as np

NAMES = ["airplane", "lamp", "cat"]
VOC = ["cat", "dog", "aeroplane"]
ALIAS = {{"airplane": "aeroplane"}}


class Detector:
    def __init__(self):
        self.net = session("detector.onnx")

    def __call__(self, image):
        h, w = image.shape[:2]
        x = (resized(image, {SIZE}, {SIZE}) - (10.0, 20.0, 30.0)) / (50.0, 60.0, 70.0)
        name = self.net.get_inputs()[0].name
        out = self.net.run(None, {{name: x.transpose(2, 0, 1)[None].astype("f4")}})[0][0]  # (3, {SIZE}, {SIZE})
        y, x = np.mgrid[:{SIZE}, :{SIZE}].reshape(2, -1) / {SIZE}
        boxes = np.stack([x, y, x + 0.3, y + 0.3], -1) * (w, h, w, h)
        return detections(boxes, 1 / (1 + np.exp(-out.reshape(3, -1).T)), 0.4)


class Segmenter:
    def __init__(self):
        self.net = session("segmenter.onnx")

    def __call__(self, image):
        x = resized(image, {SIZE}, {SIZE}).astype("f4") / 255
        return self.net.run(None, {{"image": x.transpose(2, 0, 1)[None]}})[0][0].argmax(0).astype("u1")
"""
PAGE = """| file | network | trained on | license | pooled AP50 | VOC2012@val | VOC2007@test |
|---|---|---|---|---:|---:|---:|
| ssdlite_mnv2_coco_300.onnx | SSDLite | COCO | Apache-2.0 | 0.534 | AP50 0.677 | 0.631 |
| deeplabv3_mnv2_voc_513.onnx | DeepLab | VOC | Apache-2.0 | - | mIoU 0.673 | - |
"""


def write_competitors(folder: Path) -> Path:
    """Write the reference code, the page and both networks."""
    folder.mkdir(parents=True)
    (folder / "peers.py").write_text(REFERENCE)
    (folder / "README.md").write_text(PAGE)
    rng = np.random.default_rng(0)
    for name in ("detector", "segmenter"):
        kernel = numpy_helper.from_array(rng.normal(0, 0.5, (3, 3, 3, 3)).astype(np.float16), "half")
        nodes = [
            helper.make_node("Cast", ["half"], ["kernel"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["image", "kernel"], ["out"], pads=[1, 1, 1, 1]),
        ]
        shape = [1, 3, SIZE, SIZE]
        image, out = (helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key in ("image", "out"))
        graph = helper.make_graph(nodes, name, [image], [out], [kernel])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
        onnx.save(model, folder / f"{name}.onnx")
    return folder
