"""The paper's post-processing (3.5) in torch, for all images and classes at once, with static shapes.

No step depends on the values of a tensor, so the module never waits for the device and can be exported, compiled or
captured as a CUDA graph. The numpy implementation in `blitznet.postprocess` is the reference. The results are equal,
except where anchors with equal scores tie for a class's last candidate.

Shapes: B images, A anchors, K classes, C classes with background, n candidates of a class (`topk_candidates`),
m selected boxes of a class (`max_per_class`), N detections of an image (`max_detections`); n, m and N are smaller where
fewer exist.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NMS_OUTPUT_NAMES
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed

_PADDING_SCORE = -1.0
"""score of rows that hold no detection, below every real score"""
_MIN_UNION = 1e-30
"""lower bound of a union: two boxes with zero area have IoU 0 instead of NaN, which engines compare differently"""


def nms_output_names(spec: Spec) -> tuple[str, ...]:
    """Names of the outputs of `PostprocessModule`, in order."""
    return (*NMS_OUTPUT_NAMES, "class_map") if "segmentation" in spec.tasks else NMS_OUTPUT_NAMES


class PostprocessModule(nn.Module):
    """Raw outputs of a network -> boxes, scores, labels, count and, with the segmentation task, the class map."""

    anchors: Tensor
    """(A, 4) cx cy w h, fractions of the image"""
    variances: Tensor
    """(4,) scales of the encoded offsets"""

    def __init__(self, spec: Spec) -> None:
        """Create the module for networks of this spec, with its input size, thresholds and score calibration.

        Raises:
            UsageError: The spec has no detection task.
        """
        super().__init__()
        if "detection" not in spec.tasks:
            raise UsageError(f"--nms: expected a model with the detection task, got {spec.name}; remove --nms")
        self.spec = spec
        anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
        self.register_buffer("anchors", torch.from_numpy(anchors.copy()), persistent=False)
        self.register_buffer("variances", torch.tensor(spec.anchors.variances), persistent=False)

    def forward(self, offsets: Tensor, logits: Tensor, segmentation_logits: Tensor | None = None) -> tuple[Tensor, ...]:
        """Postprocess a batch.

        Args:
            offsets: (B, A, 4) box offsets from the anchors.
            logits: (B, A, C) class logits, background first.
            segmentation_logits: (B, C, h, w), background first, or None without the segmentation task.

        Returns:
            Boxes (B, N, 4) x1 y1 x2 y2 as fractions of the image, scores (B, N) descending and calibrated, labels
            (B, N) int64, indices into `spec.classes`, and count (B,) int64, the number of detections. Rows from `count`
            on are 0. With segmentation also the class map (B, H, W) uint8 at the spec's size: 0 for background,
            label + 1 for a class.
        """
        detections = self.detections(offsets, logits)
        if segmentation_logits is None:
            return detections
        return (*detections, upsample_argmax_static(segmentation_logits, self.spec.size))

    def detections(self, offsets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, labels and count, as `forward` returns them, from offsets (B, A, 4) and logits (B, A, C)."""
        config = self.spec.postprocess
        threshold = self.spec.score_calibration.inverse(config.score_threshold)
        scores, anchor_indices = top_k_per_class(logits, config.topk_candidates)  # (B, K, n)
        boxes = self._decode(offsets, anchor_indices)
        indices, valid = nms_static(
            boxes, scores > threshold, iou_threshold=config.nms_threshold, max_boxes=config.max_per_class
        )
        boxes, scores, labels, count = _top_k_of_all(boxes, scores, indices, valid, config.max_detections)
        return boxes, self._calibrate(scores), labels, count

    def _calibrate(self, scores: Tensor) -> Tensor:
        """Calibrated scores (B, N) of the network's scores; the padding stays 0."""
        scaling = self.spec.score_calibration
        if scaling.is_identity:
            return scores
        return ((scores / (1 - scores)).log() / scaling.temperature + scaling.bias).sigmoid()

    def _decode(self, offsets: Tensor, anchor_indices: Tensor) -> Tensor:
        """Boxes (B, K, n, 4) x1 y1 x2 y2, clipped fractions of the image, of the anchors at the indices (B, K, n)."""
        flat_indices = anchor_indices.flatten(1)  # (B, K n)
        scaled_offsets = offsets.gather(1, flat_indices.unsqueeze(-1).expand(-1, -1, 4)) * self.variances  # (B, K n, 4)
        anchors = self.anchors[flat_indices]
        center = anchors[..., :2] + scaled_offsets[..., :2] * anchors[..., 2:]
        half_size = anchors[..., 2:] * scaled_offsets[..., 2:].exp() / 2
        boxes = torch.cat([center - half_size, center + half_size], -1).clamp(0, 1)
        return boxes.view(-1, *anchor_indices.shape[1:], 4)


class EndToEnd(nn.Module):
    """A network from pixels to detections: `Deployed`, then `PostprocessModule`."""

    def __init__(self, deployed: Deployed, spec: Spec) -> None:
        super().__init__()
        self.deployed = deployed
        self.postprocess = PostprocessModule(spec)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, H, W, 3) uint8 RGB of the spec's size -> what `PostprocessModule` returns."""
        outputs: tuple[Tensor, ...] = self.postprocess(*self.deployed(images))
        return outputs


def upsample_argmax_static(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Segmentation logits (B, C, h, w) -> class map (B, H, W) uint8 at `size`; of equal logits the first class."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)


def top_k_per_class(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` best scores of each class.

    Args:
        logits: (B, A, C), background first.
        k: Scores per class; all if there are fewer anchors.

    Returns:
        Scores (B, K, n) descending, equal ones in the order of the anchors, and their anchor indices (B, K, n).
    """
    scores = logits.softmax(-1)[..., 1:].transpose(1, 2).contiguous()  # (B, K, A)
    indices = scores.topk(min(k, scores.shape[-1]), sorted=False).indices.sort().values
    scores, order = scores.gather(-1, indices).sort(stable=True, descending=True)
    return scores, indices.gather(-1, order)


def nms_static(boxes: Tensor, valid: Tensor, *, iou_threshold: float, max_boxes: int) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression within each class. Each pass selects one box of every class.

    Args:
        boxes: (B, K, n, 4) x1 y1 x2 y2, best score first.
        valid: (B, K, n) bool, whether a box may be selected; the others remove none.
        iou_threshold: A box is removed if its IoU with a better selected one is greater.
        max_boxes: Boxes per class, at most.

    Returns:
        Indices (B, K, m) of the selected boxes, best first, and whether each is a selection (B, K, m) bool; rows after
        the last selection are padding.
    """
    coordinates = boxes.transpose(-1, -2)  # (B, K, 4, n): each coordinate is contiguous
    low, high = coordinates[..., :2, :], coordinates[..., 2:, :]
    area = _product(high - low)  # (B, K, 1, n)
    positions = torch.arange(boxes.shape[-2], device=boxes.device)
    with_area = torch.cat([coordinates, area], -2)  # (B, K, 5, n)
    remaining = valid.unsqueeze(-2).to(boxes.dtype)  # (B, K, 1, n): 1 or 0
    indices, selected = [], []
    for _ in range(min(max_boxes, boxes.shape[-2])):
        best = remaining.argmax(-1, keepdim=True)  # (B, K, 1, 1): the first of the remaining ones
        indices.append(best)
        selected.append(remaining.gather(-1, best))
        best_box = with_area.gather(-1, best.expand(-1, -1, 5, -1))  # (B, K, 5, 1)
        overlap = torch.minimum(best_box[..., 2:4, :], high) - torch.maximum(best_box[..., :2, :], low)
        intersection = _product(overlap.clamp(min=0))
        iou = intersection / (best_box[..., 4:, :] + area - intersection).clamp(min=_MIN_UNION)
        remaining = remaining.masked_fill((iou > iou_threshold) | (positions == best), 0)
    return torch.cat(indices, -1).squeeze(-2), torch.cat(selected, -1).squeeze(-2) > 0


def _product(pairs: Tensor) -> Tensor:
    """Product of the two rows, such as width times height: (..., 2, n) -> (..., 1, n)."""
    return pairs[..., :1, :] * pairs[..., 1:, :]


def _top_k_of_all(
    boxes: Tensor, scores: Tensor, indices: Tensor, valid: Tensor, max_detections: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best of the selected boxes of all classes, their scores, labels and count; ties by class, then by anchor."""
    flat_scores = scores.gather(-1, indices).masked_fill(~valid, _PADDING_SCORE).flatten(1)  # (B, K m)
    top_scores, order = (value[:, :max_detections] for value in flat_scores.sort(stable=True, descending=True))
    is_detection = top_scores > _PADDING_SCORE
    selected_boxes = boxes.gather(2, indices.unsqueeze(-1).expand(-1, -1, -1, 4)).flatten(1, 2)  # (B, K m, 4)
    top_boxes = selected_boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    labels = torch.div(order, indices.shape[-1], rounding_mode="floor")
    return (
        top_boxes * is_detection.unsqueeze(-1),
        top_scores * is_detection,
        labels * is_detection,
        is_detection.sum(-1),
    )
