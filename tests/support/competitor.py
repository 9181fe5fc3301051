"""A folder like the peers': a reference with one detector and one segmenter, networks of one convolution."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rivals import Peer

DETECTOR = Peer("Finder", "Finder", "finder.onnx")
SEGMENTER = Peer("Painter", "Painter", "painter.onnx")
SIDE = 16
REFERENCE = f"""
import numpy as np

NAMES = ["airplane", "lamp", "cat"]
VOC = ["cat", "dog", "aeroplane"]
ALIAS = {{"airplane": "aeroplane"}}


class Finder:
    def __init__(self):
        self.net = session("finder.onnx")

    def __call__(self, image):
        h, w = image.shape[:2]
        x = (resized(image, {SIDE}, {SIDE}) - (10.0, 20.0, 30.0)) / (50.0, 60.0, 70.0)
        name = self.net.get_inputs()[0].name
        out = self.net.run(None, {{name: x.transpose(2, 0, 1)[None].astype("f4")}})[0][0]  # (3, {SIDE}, {SIDE})
        y, x = np.mgrid[:{SIDE}, :{SIDE}].reshape(2, -1) / {SIDE}
        boxes = np.stack([x, y, x + 0.3, y + 0.3], -1) * (w, h, w, h)
        return detections(boxes, 1 / (1 + np.exp(-out.reshape(3, -1).T)), 0.4)


class Painter:
    def __init__(self):
        self.net = session("painter.onnx")

    def __call__(self, image):
        x = resized(image, {SIDE}, {SIDE}).astype("f4") / 255
        return self.net.run(None, {{"image": x.transpose(2, 0, 1)[None]}})[0][0].argmax(0).astype("u1")
"""
PAGE = """| file | network | trained on | licence | pooled AP50 | VOC2012@val | VOC2007@test |
|---|---|---|---|---:|---:|---:|
| ssdlite_mnv2_coco_300.onnx | SSDLite | COCO | Apache-2.0 | 0.534 | AP50 0.677 | 0.631 |
| deeplabv3_mnv2_voc_513.onnx | DeepLab | VOC | Apache-2.0 | - | mIoU 0.673 | - |
"""


def write_home(home: Path) -> Path:
    """Fill the folder."""
    home.mkdir(parents=True)
    (home / "peers.py").write_text(REFERENCE)
    (home / "README.md").write_text(PAGE)
    rng = np.random.default_rng(0)
    for name in ("finder", "painter"):
        kernel = numpy_helper.from_array(rng.normal(0, 0.5, (3, 3, 3, 3)).astype(np.float16), "half")
        nodes = [
            helper.make_node("Cast", ["half"], ["kernel"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["image", "kernel"], ["out"], pads=[1, 1, 1, 1]),
        ]
        shape = [1, 3, SIDE, SIDE]
        given, out = (helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key in ("image", "out"))
        graph = helper.make_graph(nodes, name, [given], [out], [kernel])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
        onnx.save(model, home / f"{name}.onnx")
    return home
