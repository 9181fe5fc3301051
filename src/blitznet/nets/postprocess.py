"""The paper's post-processing (3.5) in torch: all images and classes abreast, every shape known beforehand.

Nothing here asks what a tensor holds, so it never waits for the device: it can be exported, compiled and
captured as a CUDA graph. The exact reference is the numpy finishing of `runtime`; answers are the same but for
equal scores at the edge of a class's candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NMS_OUTPUT_NAMES
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed

_OUT = -1.0
"""below every score"""
_NO_AREA = 1e-30
"""of two boxes without an area, so that they overlap by 0: engines differ in whether not a number exceeds a number"""


def nms_output_names(spec: Spec) -> tuple[str, ...]:
    """Names of what `Finished` gives, in order."""
    return (*NMS_OUTPUT_NAMES, "class_map") if "segmentation" in spec.tasks else NMS_OUTPUT_NAMES


class PostprocessModule(nn.Module):
    """Raw answers of a network -> boxes, scores, labels, count and, with that task, the class map."""

    anchors: Tensor
    variances: Tensor

    def __init__(self, spec: Spec) -> None:
        """For networks of this contract, at its size and with its limits and temperature.

        Raises UsageError if it has no boxes to finish.
        """
        super().__init__()
        if "detection" not in spec.tasks:
            raise UsageError(f"{spec.name}: finds no boxes, so there are none to suppress; leave --nms out")
        self.spec = spec
        anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
        self.register_buffer("anchors", torch.from_numpy(anchors.copy()), persistent=False)
        self.register_buffer("variances", torch.tensor(spec.anchors.variances), persistent=False)

    def forward(self, offsets: Tensor, logits: Tensor, class_map: Tensor | None = None) -> tuple[Tensor, ...]:
        """Offsets (B, A, 4), logits (B, A, C), segmentation logits (B, C, h, w) -> what `Detections` holds.

        boxes (B, N, 4) as fractions, scores (B, N) falling, labels (B, N) and count (B,) int64, class map
        (B, H, W) uint8 at the contract's size. Zeros after `count`.
        """
        found = self.detections(offsets, logits)
        return found if class_map is None else (*found, upsample_argmax_static(class_map, self.spec.size))

    def detections(self, offsets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, labels and count of raw answers."""
        limits = self.spec.postprocess
        least = self.spec.score_calibration.inverse(limits.score_threshold)
        scores, anchor = best_of_each_class(logits, limits.topk_candidates)  # (B, K, n)
        boxes = self._place(offsets, anchor)
        pick, kept = nms_static(boxes, scores > least, iou=limits.nms_threshold, keep=limits.max_per_class)
        placed, best, label, count = _best_of_all(boxes, scores, pick, kept, limits.max_detections)
        return placed, self._told(best), label, count

    def _told(self, scores: Tensor) -> Tensor:
        """Scores (B, N) as the contract tells them; 0, which is nobody's, stays."""
        line = self.spec.score_calibration
        return scores if line.is_identity else ((scores / (1 - scores)).log() / line.temperature + line.bias).sigmoid()

    def _place(self, offsets: Tensor, anchor: Tensor) -> Tensor:
        """Boxes (B, K, n, 4), fractions inside the image, of the anchors (B, K, n)."""
        flat = anchor.flatten(1)
        chosen = offsets.gather(1, flat.unsqueeze(-1).expand(-1, -1, 4)) * self.variances  # (B, K n, 4)
        anchors = self.anchors[flat]
        centre = anchors[..., :2] + chosen[..., :2] * anchors[..., 2:]
        half = anchors[..., 2:] * chosen[..., 2:].exp() / 2
        return torch.cat([centre - half, centre + half], -1).clamp(0, 1).view(-1, *anchor.shape[1:], 4)


class EndToEnd(nn.Module):
    """A network from pixels to detections: `Deployed` and `Finishing`, one after the other."""

    def __init__(self, deployed: Deployed, spec: Spec) -> None:
        super().__init__()
        self.deployed = deployed
        self.finishing = PostprocessModule(spec)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, h, w, 3) uint8 RGB of the contract's size -> boxes, scores, labels, count, class map."""
        finished: tuple[Tensor, ...] = self.finishing(*self.deployed(images))
        return finished


def upsample_argmax_static(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Segmentation logits (B, C, h, w) -> the best channel (B, H, W) uint8 at `size`; of equal ones the first."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)


def best_of_each_class(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best scores (B, K, n) of each class and the anchors (B, K, n) they are of.

    Logits (B, A, C), background first. Order: falling score; equal scores in the anchors' order.
    """
    scores = logits.softmax(-1)[..., 1:].transpose(1, 2).contiguous()  # (B, K, A)
    anchor = scores.topk(min(count, scores.shape[-1]), sorted=False).indices.sort().values
    scores, order = scores.gather(-1, anchor).sort(stable=True, descending=True)
    return scores, anchor.gather(-1, order)


def nms_static(boxes: Tensor, valid: Tensor, *, iou: float, keep: int) -> tuple[Tensor, Tensor]:
    """Greedy suppression within each class: what stays, best first, as places (B, K, k) and whether they count.

    boxes (B, K, n, 4) x1 y1 x2 y2, best score first; valid (B, K, n) bool. A box goes when its IoU with a better
    one that stays is greater than `iou`; at most `keep` stay. Every pass settles the best open box of each class.
    """
    sides = boxes.transpose(-1, -2)  # (B, K, 4, n): a row is read in one go
    low, high = sides[..., :2, :], sides[..., 2:, :]
    area = _product(high - low)  # (B, K, 1, n)
    place = torch.arange(boxes.shape[-2], device=boxes.device)
    described = torch.cat([sides, area], -2)  # (B, K, 5, n)
    open_ = valid.unsqueeze(-2).to(boxes.dtype)  # (B, K, 1, n)
    picks, kept = [], []
    for _ in range(min(keep, boxes.shape[-2])):
        best = open_.argmax(-1, keepdim=True)  # (B, K, 1, 1): of the open ones the first
        picks.append(best)
        kept.append(open_.gather(-1, best))
        one = described.gather(-1, best.expand(-1, -1, 5, -1))  # (B, K, 5, 1)
        inner = torch.minimum(one[..., 2:4, :], high) - torch.maximum(one[..., :2, :], low)
        shared = _product(inner.clamp(min=0))
        overlap = shared / (one[..., 4:, :] + area - shared).clamp(min=_NO_AREA)
        open_ = open_.masked_fill((overlap > iou) | (place == best), 0)
    return torch.cat(picks, -1).squeeze(-2), torch.cat(kept, -1).squeeze(-2) > 0


def _product(pairs: Tensor) -> Tensor:
    """(..., 2, n) -> (..., 1, n)."""
    return pairs[..., :1, :] * pairs[..., 1:, :]


def _best_of_all(
    boxes: Tensor, scores: Tensor, pick: Tensor, kept: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `count` best of what each class kept; equal scores by class, then by anchor."""
    score = scores.gather(-1, pick).masked_fill(~kept, _OUT).flatten(1)  # (B, K k)
    score, order = (value[:, :count] for value in score.sort(stable=True, descending=True))
    there = score > _OUT
    placed = boxes.gather(2, pick.unsqueeze(-1).expand(-1, -1, -1, 4)).flatten(1, 2)
    placed = placed.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    label = torch.div(order, pick.shape[-1], rounding_mode="floor")
    return placed * there.unsqueeze(-1), score * there, label * there, there.sum(-1)
