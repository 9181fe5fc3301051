"""SSDLite as a teacher: the class logits of the published encoder and heads, unchanged."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from blitznet.core.classes import COCO, canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.lite import LiteSsdHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_heads import load_ssdlite_heads


class SSDLiteTeacher(nn.Module):
    """Images -> class logits for the anchors of a network that has SSDLite's maps. It is not trained."""

    known: Tensor
    """(c,) int64: background and the channels of classes that COCO has; there are no logits of other classes"""

    def __init__(self, spec: Spec) -> None:
        """Args: the spec of the student. Raises ModelError if it has other maps or no class of COCO."""
        super().__init__()
        network = replace(spec.network, ssd_head=True, ssd_box_head=False)
        net = build(replace(spec, tasks=("detection",), network=network))
        if not isinstance(net.ssd_head, LiteSsdHead):
            raise ModelError(f"{spec.name}: expected a light network to distill SSDLite, got {spec.network.family}")
        load_pretrained_encoder(net)
        load_ssdlite_heads(net, spec)
        self.encoder, self.downscale, self.ssd_head = net.encoder, net.downscale, net.ssd_head
        coco = {canonical(name) for name in COCO}
        channels = [channel for channel, name in enumerate(spec.classes, start=1) if canonical(name) in coco]
        if not channels:
            raise ModelError(f"{spec.name}: expected classes that COCO has, to distill SSDLite, got none of them")
        self.register_buffer("known", torch.tensor([0, *channels]))
        self.requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, A', c) of `known` for images (B, 3, H, W), normalized; A' are the anchors after the finest map."""
        # SSDLite predicts nothing on the finest map; the predictors that stand in for it are too inaccurate to distill.
        down = self.downscale(self.encoder(images))
        _, (_, *logits) = self.ssd_head(down, (down[-len(self.ssd_head.features) - 1],))
        return flatten_predictions(tuple(logits), self.ssd_head.num_classes)[..., self.known]
