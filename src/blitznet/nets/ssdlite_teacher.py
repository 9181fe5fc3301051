"""SSDLite's class scores of a image, as a teacher gives them: the published trunk and predictors, unchanged."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from blitznet.core.classes import COCO, canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.heads import rows
from blitznet.nets.lite import LiteSsdHead
from blitznet.nets.pretrained_encoder import load_trunk
from blitznet.nets.ssdlite_box_head import load_head


class SSDLiteTeacher(nn.Module):
    """Images -> class logits for the anchors of a network that has SSDLite's maps; nothing in it learns."""

    known: Tensor
    """(c,) int64: background and the channels of classes that COCO has; of others it says nothing"""

    def __init__(self, spec: Spec) -> None:
        """For a network of this contract. Raises ModelError where its maps are others, or no class is COCO's."""
        super().__init__()
        net = build(
            replace(spec, tasks=("detection",), network=replace(spec.network, ssd_head=True, ssd_box_head=False))
        )
        if not isinstance(net.ssd_head, LiteSsdHead):
            raise ModelError(f"{spec.name}: SSDLite can teach light networks only")
        load_trunk(net)
        load_head(net, spec, share=1.0)
        self.encoder, self.downscale, self.side = net.encoder, net.downscale, net.ssd_head
        theirs = {canonical(name) for name in COCO}
        channels = [label for label, name in enumerate(spec.classes, start=1) if canonical(name) in theirs]
        if not channels:
            raise ModelError(f"{spec.name}: SSDLite knows none of the classes, so it has nothing to teach")
        self.register_buffer("known", torch.tensor([0, *channels]))
        self.requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, A', c) of `known` for images (B, 3, H, W), normalised; A' are the anchors after the finest map.

        On the finest map SSDLite predicts nothing, and what stands in for it is too rough to teach.
        """
        down = self.downscale(self.encoder(images))
        _, (_, *taught) = self.side(down, (down[-len(self.side.features) - 1],))
        return rows(tuple(taught), self.side.classes)[..., self.known]
