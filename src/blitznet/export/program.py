"""A network as a torch program: one file for torch, without the code that built it."""

from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.nets.deploy import Deployed, in_bfloat16
from blitznet.nets.postprocess import EndToEnd
from blitznet.nets.program_engine import NMS_KEY

_SOURCE_METADATA = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""metadata of nodes that contain source files and lines; they are removed"""


def export_program(net: nn.Module, spec: Spec, path: Path, *, nms: bool = False) -> None:
    """Write a network with `torch.export`: images (B, h, w, 3) uint8 RGB in, a tuple of outputs out.

    Args:
        net: The network. It is left in evaluation mode, on the CPU.
        spec: Its spec. In bfloat16 the kernels are stored in that precision.
        path: The file, `.pt2`.
        nms: Put post-processing inside.

    Raises:
        UsageError: The file cannot be written, or there is no detection task for `nms`.
    """
    net = net.cpu().eval()
    deployed = Deployed(in_bfloat16(net) if spec.precision == "bfloat16" else net, spec)
    program = torch.export.export(
        (EndToEnd(deployed, spec) if nms else deployed).eval(),
        (example_images(spec).contiguous(),),  # the program stores it, and ExecuTorch refuses strides of 0
        dynamic_shapes=({0: torch.export.Dim("B")},),
    )
    remove_source_metadata(program)
    content = BytesIO()
    torch.export.save(program, content, extra_files={METADATA_KEY: spec.to_json(), NMS_KEY: str(nms)})
    atomic_write(path, content.getvalue())


def remove_source_metadata(program: torch.export.ExportedProgram) -> None:
    """Remove source files and lines from a program, in place."""
    for node in program.graph.nodes:
        for key in _SOURCE_METADATA:
            node.meta.pop(key, None)


def example_images(spec: Spec) -> torch.Tensor:
    """Images (2, h, w, 3) to trace a network with; an expanded scalar."""
    # Two, because a batch of 1 would become a constant.
    return torch.zeros((1, 1, 1, 1), dtype=torch.uint8).expand(2, *spec.size, 3)
