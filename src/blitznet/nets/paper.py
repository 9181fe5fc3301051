"""The paper's networks: BlitzNet of bottlenecks, and the SSD baseline on the same encoder."""

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.downscale import DownscaleStream
from blitznet.nets.encoder import make_encoder
from blitznet.nets.heads import ConvDetectionHead, ConvSegmentationHead
from blitznet.nets.parts import NetworkParts, require_boxes_only, require_strides
from blitznet.nets.upscale import NoUpscale, UpscaleStream


def paper(spec: Spec) -> NetworkParts:
    """The parts of BlitzNet. The upscale stream starts at the map after the anchors' coarsest."""
    network, count = spec.network, len(spec.anchors.strides)
    encoder = make_encoder(network.encoder)
    downscale = DownscaleStream(encoder, network.extra_levels)
    require_strides(spec, downscale.strides[-count - 1 : -1])
    upscale = UpscaleStream(downscale.out_channels[-count - 1 :], network)
    detection = _detection(spec, upscale.out_channels)
    return NetworkParts(encoder, downscale, upscale, detection, _segmentation(spec, upscale.out_channels))


def ssd(spec: Spec) -> NetworkParts:
    """The parts of the baseline: the detection head directly on the downscale stream, no class map."""
    require_boxes_only(spec)
    encoder, count = make_encoder(spec.network.encoder), len(spec.anchors.strides)
    downscale = DownscaleStream(encoder, spec.network.extra_levels)
    require_strides(spec, downscale.strides[-count:])
    upscale = NoUpscale(downscale.out_channels[-count:])
    return NetworkParts(encoder, downscale, upscale, _detection(spec, upscale.out_channels), None)


def _detection(spec: Spec, in_channels: tuple[int, ...]) -> ConvDetectionHead | None:
    if "detection" not in spec.tasks:
        return None
    return ConvDetectionHead(
        in_channels, anchors_per_cell=spec.anchors.num_anchors_per_cell, num_classes=spec.num_channels
    )


def _segmentation(spec: Spec, in_channels: tuple[int, ...]) -> ConvSegmentationHead | None:
    if "segmentation" not in spec.tasks:
        return None
    network = spec.network
    if network.segmentation_stride != spec.anchors.strides[0]:
        raise ModelError(
            f"{spec.name}: expected segmentation_stride {spec.anchors.strides[0]}, the finest map's, "
            f"got {network.segmentation_stride}; finer class maps need a light network"
        )
    return ConvSegmentationHead(
        in_channels,
        channels_per_map=network.segmentation_channels,
        num_classes=spec.num_channels,
        mode=network.segmentation_resize,
    )
