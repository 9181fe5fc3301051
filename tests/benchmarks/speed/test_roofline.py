from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.speed import roofline
from benchmarks.speed.roofline import (
    LARGE_MODEL,
    Options,
    at_twice_the_size,
    goals_of,
    in_bfloat16,
    multiply_adds,
    networks_of,
    open_networks,
    report_tables,
)
from blitznet.bench.interleaved import run_interleaved
from blitznet.bench.timing import Latency
from blitznet.core.models import blitznet300_lite, blitznet300_lite_plain
from blitznet.nets.blitznet import build
from support.fake_engines import write_onnx
from support.small_networks import small_spec


@pytest.mark.slow
def test_multiply_adds_are_those_of_the_convolutions() -> None:
    spec = small_spec()
    net, expected = build(spec).eval(), 0

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal expected
        assert isinstance(layer, nn.Conv2d)
        expected += output.numel() * layer.weight[0].numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.zeros(1, 3, *spec.size))
    assert multiply_adds(spec) == expected
    assert multiply_adds(at_twice_the_size(spec)) > 3 * expected


def test_multiply_adds_of_the_light_networks() -> None:
    assert multiply_adds(blitznet300_lite_plain()) / 1e9 == pytest.approx(0.80, abs=0.005)
    assert multiply_adds(blitznet300_lite()) / 1e9 == pytest.approx(0.93, abs=0.005)


@pytest.mark.slow
def test_peaks_and_networks_run_interleaved(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    jobs = [
        partial(open_networks, (tmp_path / "a.onnx", tmp_path / "a.onnx"), 1, 2),
        partial(roofline.open_torch, "bfloat16", 32, 1, 3),
        partial(roofline.open_openvino, 32, 1, 4),
    ]
    assert [len(rounds[0]) for rounds in run_interleaved(jobs, 1)] == [2, 3, 4]


def test_row_and_goals_from_times() -> None:
    spec = replace(in_bfloat16(small_spec()), name=LARGE_MODEL)
    assert spec.precision == "bfloat16"
    count = multiply_adds(spec) / 1e9
    row = roofline.row(spec, Latency(2, 3), Latency(4, 5), Latency(9, 9), peak=count)
    assert row.peak_fraction == pytest.approx(1 / 2)
    assert (row.joint_fraction, row.time_ratio, row.area_ratio) == (0.5, 4.5, 4.0)
    assert [goal.met for goal in goals_of([row])] == [False, True, False]
    peaks = [roofline.Peak("torch, float32", Latency(1, 1), 0.25)]
    products, networks = report_tables(peaks, [row], Options())
    assert products.rows == [("torch, float32", "1.00 / 1.00", "0.250")]
    assert networks.rows[0][0] == LARGE_MODEL
    assert networks.rows[0][-1] == "4.50"


@pytest.mark.slow
def test_every_network_of_a_model(tmp_path: Path) -> None:
    jobs = networks_of(in_bfloat16(small_spec()), tmp_path, Options(repeats=1, threads=1))
    assert [len(rounds) for rounds in run_interleaved(jobs, 1)] == [1, 1, 1]
