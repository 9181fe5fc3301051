"""Which class a confident box was matched with, whatever its own."""

from dataclasses import replace

import numpy as np

from blitznet.metrics import voc_ap
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE, Numbers, Reals, best_objects, match_detections

CONFIDENT = 0.3
"""score from which a box is shown to people"""


def box_confusion(evidence: EvaluationState, score: float = CONFIDENT) -> Numbers:
    """Boxes (C, C) by true (row) and predicted (column) class, background first, of detections with this score.

    Every object has one box at most, the best by score; a second one counts as a box on background, an object
    without any as background predicted. What meets an ignored object counts nowhere.
    """
    classes, keep = len(evidence.class_names) + 1, evidence.found.score >= np.float32(score)
    found = replace(
        evidence.found,
        image=evidence.found.image[keep],
        label=np.zeros(np.count_nonzero(keep), np.int64),
        boxes=evidence.found.boxes[keep],
        score=evidence.found.score[keep],
    )
    objects = replace(evidence.objects, label=np.zeros_like(evidence.objects.label))

    def overlap(a: Reals, b: Reals) -> Reals:
        return voc_ap.overlap(a, b, evidence.rule)

    verdict = match_detections(found, objects, overlap, lambda share: voc_ap.enough(share, evidence.rule))
    best, _ = best_objects(found, objects, overlap)
    predicted, true = evidence.found.label[keep] + 1, evidence.objects.label + 1
    seen, table = best[verdict == TRUE_POSITIVE], np.zeros((classes, classes), np.int64)
    unseen = ~objects.ignored
    unseen[seen] = False
    np.add.at(table, (true[seen], predicted[verdict == TRUE_POSITIVE]), 1)
    table[0] += np.bincount(predicted[verdict == FALSE_POSITIVE], minlength=classes)
    table[:, 0] += np.bincount(true[unseen], minlength=classes)
    return table
