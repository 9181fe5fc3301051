"""SSDLite as a teacher: the class logits and box offsets of the published encoder and heads, unchanged."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from blitznet.core.classes import COCO, canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.heads import apply_each, as_convolutions, flatten_predictions
from blitznet.nets.lite_fpn import FpnDetectionHead, pool_coarsest
from blitznet.nets.mobilenet import LiteConv
from blitznet.nets.parts import Maps
from blitznet.nets.ssdlite_heads import init_from_ssdlite, require_ssdlite_maps


class SSDLiteTeacher(nn.Module):
    """Images -> class logits and box offsets for the anchors of a network with SSDLite's maps. It is not trained."""

    known: Tensor
    """(c,) int64: background and the channels of classes that COCO has; there are no logits of other classes"""

    def __init__(self, spec: Spec) -> None:
        """Args: the spec of the student. Raises ModelError if it has other maps than SSDLite or no class of COCO."""
        super().__init__()
        require_ssdlite_maps(spec)
        stride = spec.anchors.strides[0]
        network = replace(spec.network, family="lite-fpn", segmentation_stride=stride)
        net = build(replace(spec, tasks=("detection",), network=network))
        init_from_ssdlite(net, spec)
        assert isinstance(net.detection, FpnDetectionHead)
        self.encoder, self.downscale = net.encoder, net.downscale
        self.class_features, self.box_features = net.detection.class_features, net.detection.box_features
        self.num_classes = net.detection.num_classes
        # SSDLite predicts nothing on the finest map.
        self.logits = net.detection.logits[1:]
        self.offsets = net.detection.offsets[1:]
        coco = {canonical(name) for name in COCO}
        channels = [channel for channel, name in enumerate(spec.classes, start=1) if canonical(name) in coco]
        if not channels:
            raise ModelError(f"{spec.name}: expected classes that COCO has, to distill SSDLite, got none of them")
        self.register_buffer("known", torch.tensor([0, *channels]))
        for module in self.modules():
            if isinstance(module, LiteConv):
                module.fold()
        self.requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions for images (B, 3, H, W), normalized, at the anchors A' after those of the finest map.

        Returns:
            Logits (B, A', c) of `known`, and offsets (B, A', 4).
        """
        maps = pool_coarsest(self.downscale(self.encoder(images))[-len(self.logits) :])
        logits = _predict(self.logits, apply_each(self.class_features, maps))
        offsets = _predict(self.offsets, apply_each(self.box_features, maps))
        return flatten_predictions(logits, self.num_classes)[..., self.known], flatten_predictions(offsets, 4)


def _predict(layers: nn.ModuleList, features: Maps) -> Maps:
    """The layers on SSDLite's features, the last of their input channels; the kernels on the pyramid are 0."""
    pairs = zip(as_convolutions(layers), features, strict=True)
    return tuple(conv2d(x, layer.weight[:, -x.shape[1] :], layer.bias) for layer, x in pairs)
