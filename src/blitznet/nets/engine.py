"""The torch engine: a network from memory behind the same door as every exported one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from blitznet.core.result import Outputs
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed, answers


class TorchEngine:
    """Runs a network in evaluation mode, on the device where its weights are when the engine is made.

    The network is put into evaluation mode at each run and left so; who trains it on calls `train()`.
    """

    def __init__(self, net: nn.Module, spec: Spec) -> None:
        self.spec = spec
        self._deployed = Deployed(net, spec).to(next(net.parameters()).device)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Raw answers, float32, for images (B, h, w, 3) uint8 RGB of any one size."""
        device = self._deployed.pixel_mean.device
        with torch.inference_mode():
            given = self._deployed.eval()(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        named = dict(zip(answers(self.spec), (answer.float().cpu().numpy() for answer in given), strict=True))
        return Outputs(offsets=named.get("offsets"), logits=named.get("logits"), class_map=named.get("class_map"))
