from dataclasses import replace

import pytest
import torch

from blitznet.core.models import blitznet300_lite
from gpu import Options, main, measure, specs, table


def test_all_of_it_runs_on_a_cpu() -> None:
    spec = replace(blitznet300_lite(), size=(64, 64))
    options = Options(device="cpu", batches=(1, 2), ways=("eager", "graph"), precisions=("bfloat16",), rounds=1)
    rows = list(measure(spec, options, torch.device("cpu")))
    assert [(row.what, row.way, row.batch) for row in rows] == [
        ("network", "eager", 1),
        ("network", "graph", 1),
        ("post-processing", "eager", 1),
        ("post-processing", "graph", 1),
        ("network", "eager", 2),
        ("network", "graph", 2),
        ("training step", "eager", 2),
        ("post-processing", "eager", 2),
        ("post-processing", "graph", 2),
    ]
    assert all((row.milliseconds is None) == (row.way == "graph") for row in rows)
    assert all(row.memory is None for row in rows)
    assert table(rows, "CPU").rows[1][-3:] == ("-", "-", "-")


def test_sizes_are_sides() -> None:
    assert [spec.size for spec in specs("blitznet300-s8", Options(sizes=(64, 96)))] == [(64, 64), (96, 96)]
    assert specs("blitznet300-s8", Options())[0].size == (300, 300)


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    main(Options())
    assert capsys.readouterr().out.startswith("skipped: there is no GPU here")
