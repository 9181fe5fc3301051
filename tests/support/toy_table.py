"""A table of toy runs: one task or both, by the tiny network."""

from pathlib import Path

from blitznet.core.spec import ALL_TASKS, Task
from blitznet.paper.tables import Figure, Row, Table
from support.training_runs import tiny_config

DATA, VAL = "voc:{root}/train@train", "voc:{root}/val@val"
TASKS: dict[str, tuple[Task, ...]] = {"det": ("detection",), "joint": ALL_TASKS, "seg": ("segmentation",)}
PAPER: dict[str, dict[str, float]] = {
    "det": {"mAP": 78.9},
    "joint": {"mAP": 80.0, "mIoU": 72.8},
    "seg": {"mIoU": 72.4},
}


def toy_table(steps: int = 4, data: str = DATA) -> Table:
    """Table 3 of the tiny network."""
    rows = tuple(
        Row(
            name,
            tiny_config((data,), out=Path("nowhere"), val=(VAL,), model="tiny-lite", tasks=tasks, steps=steps),
            PAPER[name],
        )
        for name, tasks in TASKS.items()
    )
    figures = (Figure("mAP", "ap50_area", VAL), Figure("pooled", "ap50_pooled", VAL), Figure("mIoU", "miou", VAL))
    return Table("table3", "small", "one task or both", figures, rows, "joint")
