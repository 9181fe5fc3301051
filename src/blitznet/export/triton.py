"""A model folder for NVIDIA's Triton Inference Server: config.pbtxt, beside a folder of each version of the model.

The fields are those of Triton's model_config.proto. Its user guide describes them on the page "Model Configuration".
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blitznet.core.errors import UsageError
from blitznet.core.spec import METADATA_KEY, Spec

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

CONFIG, VERSION_FOLDER, MODEL_FILE = "config.pbtxt", "1", "model.onnx"
"""names of the config, of the version's folder and of the model file, which Triton prescribes"""
REPOSITORY = "model_repository"
"""default folder of all models"""
MAX_BATCH = 8
"""images that Triton may put into one batch"""
MAX_QUEUE = 64
"""requests that may wait; Triton refuses more. Equal to the default of our own server"""
QUEUE_TIMEOUT = 30_000_000
"""microseconds that a request may wait; equal to the default of our own server"""


def triton_file(folder: Path) -> Path:
    """The model file in a model's folder, whose name is the model's name in Triton.

    Raises:
        UsageError: The name of the folder is not a name for Triton.
    """
    if not re.fullmatch(r"[\w.-]+", folder.name, re.ASCII) or folder.name.startswith("."):
        raise UsageError(
            f"--out: expected a folder whose name has letters, digits, '.', '-' and '_' only, got {folder}"
        )
    return folder / VERSION_FOLDER / MODEL_FILE


def triton_config_path(file: Path) -> Path:
    """The config of a model file from `triton_file`."""
    return file.parent.parent / CONFIG


def triton_config(model: "ModelProto", spec: Spec, name: str) -> str:
    """The text of config.pbtxt: tensors, batching, a bounded queue, and a warm-up of each batch size.

    Args:
        model: The graph that Triton will run; its first axis is the batch.
        spec: Its spec, which becomes a parameter that clients can read.
        name: Name of the model's folder.
    """
    inputs = "\n".join(_input(value) for value in model.graph.input)
    outputs = ",\n".join(_output(value) for value in model.graph.output)
    warm_ups = ",\n".join(_warm_up(model.graph.input[0], batch) for batch in batch_sizes(MAX_BATCH))
    return f"""\
name: {_text(name)}
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
{inputs}
]
output [
{outputs}
]
dynamic_batching {{
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {QUEUE_TIMEOUT}
    max_queue_size: {MAX_QUEUE}
  }}
}}
model_warmup [
{warm_ups}
]
parameters {{
  key: {_text(METADATA_KEY)}
  value {{ string_value: {_text(spec.to_json())} }}
}}
"""


def batch_sizes(maximum: int) -> list[int]:
    """The powers of two up to `maximum`."""
    return [1 << exponent for exponent in range(maximum.bit_length())]


def _input(value: "ValueInfoProto") -> str:
    return (
        f"  {{ name: {_text(value.name)} data_type: {_type(value)} format: FORMAT_NHWC dims: {_dims(_shape(value))} }}"
    )


def _output(value: "ValueInfoProto") -> str:
    shape = _shape(value)
    dims = f"dims: {_dims(shape)}" if shape else "dims: [ 1 ] reshape { shape: [ ] }"  # Triton has no scalars
    return f"  {{ name: {_text(value.name)} data_type: {_type(value)} {dims} }}"


def _warm_up(value: "ValueInfoProto", batch: int) -> str:
    tensor = f"data_type: {_type(value)} dims: {_dims(_shape(value))} zero_data: true"
    return f"""\
  {{
    name: "batch of {batch}"
    batch_size: {batch}
    inputs {{ key: {_text(value.name)} value {{ {tensor} }} }}
  }}"""


def _shape(value: "ValueInfoProto") -> list[int]:
    """Sizes of the axes after the batch; -1 if unknown."""
    sizes = list(value.type.tensor_type.shape.dim)[1:]
    return [size.dim_value if size.HasField("dim_value") else -1 for size in sizes]


def _dims(shape: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, shape))} ]"


def _type(value: "ValueInfoProto") -> str:
    from onnx import TensorProto

    types: dict[int, str] = {
        TensorProto.UINT8: "TYPE_UINT8",
        TensorProto.INT64: "TYPE_INT64",
        TensorProto.FLOAT: "TYPE_FP32",
    }
    return types[value.type.tensor_type.elem_type]


def _text(text: str) -> str:
    """A string of protobuf's text format. JSON's escapes of ASCII are a part of its escapes."""
    return json.dumps(text)
