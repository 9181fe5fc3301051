"""TorchEngine: runs a network in memory, with the interface of the engines for exported files."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed, in_bfloat16, output_names


class TorchEngine:
    """Runs a network in evaluation mode, on the device of its weights.

    Each run puts the network into evaluation mode; to continue training, call `train()`. A network whose spec says
    bfloat16 is copied into that precision.
    """

    def __init__(self, net: nn.Module, spec: Spec, *, compiled: bool = False) -> None:
        """Wrap a network.

        Args:
            net: The network. It is not copied in float32: later changes of its weights have effect.
            spec: Its spec.
            compiled: Use torch.compile. Each batch size is compiled at its first run, which takes a minute.

        Raises:
            ModelError: The spec says int8, in which torch does not compute.
        """
        if spec.precision == "int8":
            raise ModelError(
                f"{spec.name}: expected float32 or bfloat16 for torch, got int8; export it and run the file"
            )
        self.spec = spec
        self.name: Literal["torch", "torch-compiled"] = "torch-compiled" if compiled else "torch"
        device = next(net.parameters()).device
        self._deployed = Deployed(in_bfloat16(net) if spec.precision == "bfloat16" else net, spec).to(device)
        self._forward = torch.compile(self._deployed, dynamic=False) if compiled else self._deployed

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Raw outputs, float32, for images (B, h, w, 3) uint8 RGB of any one size."""
        self._deployed.eval()
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._deployed.pixel_mean.device)
        with torch.inference_mode():
            arrays = [tensor.float().cpu().numpy() for tensor in self._run(pixels)]
        named = dict(zip(output_names(self.spec), arrays, strict=True))
        return Outputs(
            offsets=named.get("offsets"),
            logits=named.get("logits"),
            segmentation_logits=named.get("segmentation_logits"),
        )

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.name == "torch":
            outputs: tuple[Tensor, ...] = self._forward(images)
            return outputs
        from torch._dynamo.exc import BackendCompilerFailed
        from torch._inductor.exc import InductorError

        try:
            outputs = self._forward(images)
        except (BackendCompilerFailed, InductorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"engine: torch-compiled needs a working C++ compiler ({reason}); choose another engine"
            ) from error
        return outputs
