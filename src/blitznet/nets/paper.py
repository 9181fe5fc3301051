"""The paper's networks: BlitzNet on bottlenecks, and the baseline SSD on the same encoder."""

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.downscale import DownscaleStream
from blitznet.nets.encoder import make_encoder
from blitznet.nets.heads import DetectionHead, SegmentationHead
from blitznet.nets.parts import NetworkParts, require_boxes_only, require_strides
from blitznet.nets.upscale import NoUpscale, UpscaleStream


def paper(spec: Spec) -> NetworkParts:
    """The parts of BlitzNet: the map one coarser than the anchors' coarsest starts the upscale stream."""
    network, count = spec.network, len(spec.anchors.strides)
    encoder = make_encoder(network.encoder)
    downscale = DownscaleStream(encoder, network.extra_levels)
    require_strides(spec, downscale.strides[-count - 1 : -1])
    upscale = UpscaleStream(downscale.channels[-count - 1 :], network)
    return NetworkParts(
        encoder, downscale, upscale, _detection(spec, upscale.channels), _segmentation(spec, upscale.channels)
    )


def ssd(spec: Spec) -> NetworkParts:
    """The parts of the baseline: heads straight on the downscale stream, boxes only."""
    require_boxes_only(spec)
    encoder, count = make_encoder(spec.network.encoder), len(spec.anchors.strides)
    downscale = DownscaleStream(encoder, spec.network.extra_levels)
    require_strides(spec, downscale.strides[-count:])
    upscale = NoUpscale(downscale.channels[-count:])
    return NetworkParts(encoder, downscale, upscale, _detection(spec, upscale.channels), None)


def _detection(spec: Spec, channels: tuple[int, ...]) -> DetectionHead | None:
    if "detection" not in spec.tasks:
        return None
    return DetectionHead(channels, per_cell=spec.anchors.num_anchors_per_cell, classes=spec.num_channels)


def _segmentation(spec: Spec, channels: tuple[int, ...]) -> SegmentationHead | None:
    if "segmentation" not in spec.tasks:
        return None
    network = spec.network
    if network.segmentation_stride != spec.anchors.strides[0]:
        raise ModelError(
            f"{spec.name}: this family's class map has the finest map's stride {spec.anchors.strides[0]}, "
            f"came segmentation_stride {network.segmentation_stride}"
        )
    return SegmentationHead(
        channels, width=network.segmentation_channels, classes=spec.num_channels, how=network.segmentation_resize
    )
