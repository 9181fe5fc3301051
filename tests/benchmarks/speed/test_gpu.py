from dataclasses import replace

import pytest
import torch

from benchmarks.speed.gpu import Options, main, measure, report_table, specs
from blitznet.core.models import blitznet300_lite


@pytest.mark.slow
def test_measure_on_a_cpu() -> None:
    spec = replace(blitznet300_lite(), size=(64, 64))
    options = Options(device="cpu", batches=(1, 2), modes=("eager", "graph"), precisions=("bfloat16",), rounds=1)
    rows = list(measure(spec, options, torch.device("cpu")))
    assert [(row.work, row.mode, row.batch) for row in rows] == [
        ("network", "eager", 1),
        ("network", "graph", 1),
        ("postprocessing", "eager", 1),
        ("postprocessing", "graph", 1),
        ("network", "eager", 2),
        ("network", "graph", 2),
        ("training step", "eager", 2),
        ("postprocessing", "eager", 2),
        ("postprocessing", "graph", 2),
    ]
    assert all((row.milliseconds is None) == (row.mode == "graph") for row in rows)
    assert all(row.memory is None for row in rows)
    assert report_table(rows, "CPU").rows[1][-3:] == ("-", "-", "-")


def test_specs_of_several_sizes() -> None:
    assert [spec.size for spec in specs("blitznet300-s8", Options(sizes=(64, 96)))] == [(64, 64), (96, 96)]
    assert specs("blitznet300-s8", Options())[0].size == (300, 300)


def test_main_is_skipped_without_a_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    main(Options())
    assert capsys.readouterr().out.startswith("skipped: this machine has no GPU")
