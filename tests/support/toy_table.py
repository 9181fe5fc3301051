"""A small table: one task or both, with the tiny network."""

from pathlib import Path

from blitznet.core.spec import ALL_TASKS, Task
from blitznet.paper.tables import MetricColumn, PaperTable, TableRow
from support.training_runs import tiny_config

DATA, VAL = "voc:{root}/train@train", "voc:{root}/val@val"
TASKS: dict[str, tuple[Task, ...]] = {"det": ("detection",), "joint": ALL_TASKS, "seg": ("segmentation",)}
PAPER: dict[str, dict[str, float]] = {
    "det": {"mAP": 78.9},
    "joint": {"mAP": 80.0, "mIoU": 72.8},
    "seg": {"mIoU": 72.4},
}


def toy_table(steps: int = 4, data: str = DATA) -> PaperTable:
    """Table 3 of the tiny network."""
    rows = tuple(
        TableRow(
            name,
            tiny_config((data,), out=Path("nowhere"), val=(VAL,), model="tiny-lite", tasks=tasks, steps=steps),
            PAPER[name],
        )
        for name, tasks in TASKS.items()
    )
    columns = (
        MetricColumn("mAP", "ap50_area", VAL),
        MetricColumn("frequent", "ap50_frequent", VAL),
        MetricColumn("mIoU", "miou", VAL),
    )
    return PaperTable("table3", "small", "one task or both", columns, rows, "joint")
