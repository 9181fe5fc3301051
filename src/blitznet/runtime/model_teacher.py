"""A blitznet model as a segmentation teacher."""

import numpy as np

from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import Outputs
from blitznet.core.sample import SoftLabels
from blitznet.runtime.predictor import Predictor


class ModelTeacher:
    """Images -> segmentation logits of a predictor's model."""

    def __init__(self, predictor: Predictor) -> None:
        """Args: the predictor. Raises ModelError if its model has no segmentation head."""
        if "segmentation" not in predictor.spec.tasks:
            raise ModelError(f"{predictor.spec.name}: expected a teacher with a segmentation head, got a detector")
        self.predictor = predictor
        self.class_names = predictor.spec.predicted_classes("segmentation")
        self._channels = [0, *np.flatnonzero(predictor.spec.predicts("segmentation")) + 1]

    def __call__(self, image: ImageSource) -> SoftLabels:
        """The logits of an image; grid points are the centers of the cells."""
        outputs = self.predictor.engine.run(self.predictor.preprocess(image).pixels[None])
        if not isinstance(outputs, Outputs) or outputs.segmentation_logits is None:
            raise ModelError(f"{self.predictor.spec.name}: expected a file with raw outputs, got one with NMS inside")
        logits = outputs.segmentation_logits[0] / self.predictor.spec.segmentation_temperature
        logits = logits[self._channels]
        rows, columns = logits.shape[1:]
        return SoftLabels(logits, (0.5 / rows, 0.5 / columns), (1 / rows, 1 / columns))
