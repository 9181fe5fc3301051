"""The torch engine: a network from memory behind the same door as every exported one."""

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
    """Runs a network in evaluation mode, on the device where its weights are when the engine is made.

    The network is put into evaluation mode at each run and left so; who trains it on calls `train()`.
    One whose contract says bfloat16 is copied into that precision.
    """

    def __init__(self, net: nn.Module, spec: Spec, *, compiled: bool = False) -> None:
        """Look through `net`; `compiled` for each batch size, at its first run, which takes a minute.

        Raises ModelError for an int8 contract, which torch does not compute in.
        """
        if spec.precision == "int8":
            raise ModelError(
                f"{spec.name}: is to be computed in int8, which torch does not do; export it and run the file"
            )
        self.spec = spec
        self.name: Literal["torch", "torch-compiled"] = "torch-compiled" if compiled else "torch"
        device = next(net.parameters()).device
        self._deployed = Deployed(in_bfloat16(net) if spec.precision == "bfloat16" else net, spec).to(device)
        self._forward = torch.compile(self._deployed, dynamic=False) if compiled else self._deployed

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Raw answers, float32, for images (B, h, w, 3) uint8 RGB of any one size."""
        self._deployed.eval()
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self._deployed.pixel_mean.device)
        with torch.inference_mode():
            arrays = [answer.float().cpu().numpy() for answer in self._run(given)]
        named = dict(zip(output_names(self.spec), arrays, strict=True))
        return Outputs(
            offsets=named.get("offsets"),
            logits=named.get("logits"),
            segmentation_logits=named.get("segmentation_logits"),
        )

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.name == "torch":
            given: tuple[Tensor, ...] = self._forward(images)
            return given
        from torch._dynamo.exc import BackendCompilerFailed
        from torch._inductor.exc import InductorError

        try:
            given = self._forward(images)
        except (BackendCompilerFailed, InductorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"engine: torch-compiled needs a working C++ compiler ({reason}); take another engine"
            ) from error
        return given
