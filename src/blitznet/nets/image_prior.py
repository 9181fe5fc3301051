"""The image-level prior of the class map: classes that no anchor of the image prefers are less probable."""

from torch import Tensor
from torch.nn.functional import pad

from blitznet.nets.parts import DetectionPrior, Maps

_MIN_PROBABILITY = 0.2
"""added to the probability of a class: some objects are visible to pixels but not to anchors"""


class ImagePrior(DetectionPrior):
    """Adds the log-probability that each class occurs in the image to the class logits of all pixels.

    It has no parameters and applies at inference only: scores on training images are overconfident, and the class map
    would learn to rely on them.
    """

    def __init__(self, weight: float) -> None:
        """Args: the factor of the log-probabilities."""
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, up: Maps, features: Tensor) -> Tensor:  # noqa: ARG002 - only the boxes' logits
        """(B, C, 1, 1) from class logits (B, A, C); zeros in training."""
        if self.training:
            return logits.new_zeros(len(logits), logits.shape[2], 1, 1)
        return self.weight * image_log_prior((logits - logits[..., :1]).amax(1))


def image_log_prior(margins: Tensor) -> Tensor:
    """Log-probability that each class occurs in the image; 0 for background.

    A class that no anchor prefers loses log 6 relative to one that certainly occurs, and not more.

    Args:
        margins: (B, C) the largest margin of a class over background of any anchor, background first.

    Returns:
        (B, C, 1, 1).
    """
    probability = margins[:, 1:].sigmoid()
    return pad((probability + _MIN_PROBABILITY).log(), (1, 0))[..., None, None]
