"""A network as a torch program: one file for torch, without the code that built it."""

from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.nets.deploy import Deployed, in_bfloat16
from blitznet.nets.postprocess import EndToEnd
from blitznet.nets.program_engine import FINISHED

_OF_OUR_SOURCES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""notes on each node that name files and lines: nobody's business"""


def export_program(net: nn.Module, spec: Spec, path: Path, *, nms: bool = False) -> None:
    """Write the network as `torch.export` gives it: images (B, h, w, 3) uint8 RGB in, a tuple of answers out.

    The contract is an extra file under `blitznet`. In bfloat16 the kernels are stored so. The network is left in
    evaluation mode, on the CPU. Raises UsageError if the file cannot be written.
    """
    net = net.cpu().eval()
    deployed = Deployed(in_bfloat16(net) if spec.precision == "bfloat16" else net, spec)
    program = torch.export.export(
        (EndToEnd(deployed, spec) if nms else deployed).eval(),
        (example(spec),),
        dynamic_shapes=({0: torch.export.Dim("B")},),
    )
    for node in program.graph.nodes:
        for note in _OF_OUR_SOURCES:
            node.meta.pop(note, None)
    content = BytesIO()
    torch.export.save(program, content, extra_files={METADATA_KEY: spec.to_json(), FINISHED: str(nms)})
    atomic_write(path, content.getvalue())


def example(spec: Spec) -> torch.Tensor:
    """Images (2, h, w, 3) to trace a network with, of one number: programs store what they were traced with.

    Two of them: a batch of 1 would be taken for a constant.
    """
    return torch.zeros((1, 1, 1, 1), dtype=torch.uint8).expand(2, *spec.size, 3)
