"""A peer's network in 8 bits, as a user would make it: onnxruntime's QDQ, unsigned activations, signed kernels."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from blitznet.core.arrays import RGBArray
from rivals import HOME, Arrays, Peer, Rival, Setup

_OPSET = 13
"""the first whose QuantizeLinear has a scale for each channel"""


def quantise(peer: Peer, images: Sequence[RGBArray], out: Path, home: Path = HOME) -> Path:
    """Write `out`, calibrated on these images (H, W, 3) uint8 RGB; every convolution in 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    given = _feeds(Rival(peer, Setup("onnxruntime", "float32", 1), home), images)

    class Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
        def get_next(self) -> Arrays | None:
            return next(given, None)

    plain = _plain(home / peer.file, out.with_suffix(".plain.onnx"))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # advice on pre-processing, which has been done
    try:
        quantize_static(
            plain,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "Add", "Concat", "MaxPool", "Relu", "Clip"],
        )
    finally:
        logging.getLogger().setLevel(level)
    return out


def _feeds(rival: Rival, images: Sequence[RGBArray]) -> Iterator[Arrays]:
    """What the network is fed for each image."""
    for image in images:
        rival(image)
        yield rival.session.fed


def _plain(file: Path, out: Path) -> Path:
    """The network with its constants folded: kernels stored as float16 behind a Cast would not be found."""
    import onnx
    import onnxruntime
    from onnx import version_converter

    model = onnx.load(file)
    if model.opset_import[0].version < _OPSET:
        model = version_converter.convert_version(model, _OPSET)
    onnx.save(model, out)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    return out
