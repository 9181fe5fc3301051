"""A run: interrupted and resumed equals uninterrupted; the files of its folder."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from blitznet.cli.train import read
from blitznet.core.errors import DataError, UsageError
from blitznet.core.models import blitznet300_lite
from blitznet.core.spec import Spec
from blitznet.metrics.report import Report, SegmentationScores, SetScores
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from blitznet.train.callbacks import RunEvaluation, TrainCallback
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import open_all, prepare_data
from blitznet.train.distributed import ProcessGroup
from blitznet.train.initialize import make_network
from blitznet.train.interrupts import TrainingInterrupted
from blitznet.train.loop import train
from blitznet.train.run_folder import BestScore, RunFolder
from blitznet.train.step import NonFiniteLossError
from blitznet.train.trainer import fit, make_batches, wrap_model
from blitznet.train.validate import validate
from support import synthetic_data, tiny_models
from support.packaged_models import replace_packaged
from support.training_runs import CHECKPOINTS, LOADER_WARNINGS, assert_equal, lines, own_process, tiny_config, toy_sets

pytestmark = LOADER_WARNINGS


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network, and no plots: they take longer than its training."""
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    return toy_sets(tmp_path)


def steps_of(out: Path) -> list[float]:
    return [line["step"] for line in lines(out) if "loss/total" in line]


class Recorder(TrainCallback):
    """Records the calls, and runs a function after each step."""

    def __init__(self, after_step: Callable[[int], None] = lambda _: None) -> None:
        self.calls: list[str] = []
        self.after_step = after_step

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        assert {"loss/total", "grad_norm", "lr", "images_per_second", "data_time"} <= values.keys()
        self.calls.append(f"{step} of {num_steps}")
        self.after_step(step)

    def on_eval(self, evaluation: RunEvaluation) -> None:
        self.calls.append(f"eval {evaluation.step}")

    def on_end(self, *, failed: bool) -> None:
        self.calls.append("failed" if failed else "end")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="adamw"),
        pytest.param({"workers": 2, "optimizer": "adam", "ema": None}, id="adam, 2 workers, no average"),
        pytest.param({"optimizer": "sgd", "accumulate": 2, "precision": "bfloat16"}, id="nesterov, parts, bfloat16"),
        pytest.param(
            {"model": "tiny-lite", "freeze_bn": ("all",), "repeat_threshold": 0.5}, id="lite, frozen, repeats"
        ),
    ],
)
def test_stopped_between_checkpoints_and_resumed_equals_uninterrupted(
    sets: tuple[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", **changes)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=5)  # the last state is of step 3
    assert steps_of(cut.out) == [1, 2, 3, 4, 5]
    train(replace(cut, workers=1 - min(cut.workers, 1)), stop_after=7)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 9))
    for name in CHECKPOINTS:
        assert_equal(whole.out / name, cut.out / name)
    first_lines, second_lines = lines(whole.out), lines(cut.out)
    for first, second in zip(first_lines, second_lines, strict=True):
        assert {k: v for k, v in first.items() if k.startswith("loss/")} == {
            k: v for k, v in second.items() if k.startswith("loss/")
        }


def test_run_of_epochs_equals_the_run_of_its_steps(sets: tuple[str, str], tmp_path: Path) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", steps=4)  # 2 epochs of 7 images in batches of 4
    train(whole)
    cut = replace(whole, out=tmp_path / "cut", steps=600, epochs=2)
    train(cut, stop_after=3)
    notices: list[str] = []
    train(cut, notify=notices.append)
    assert notices == [
        "--epochs 2: 4 steps for 7 images per epoch and --batch 4",
        f"{cut.out}: resuming after step 3 of 4",
    ]
    stored = json.loads((cut.out / "config.json").read_text())
    assert (stored["epochs"], stored["steps"]) == (2, 4)
    for name in CHECKPOINTS:
        assert_equal(whole.out / name, cut.out / name)
    assert load_model(cut.out / "last.safetensors")[1] == load_model(whole.out / "last.safetensors")[1]


def script_scores(monkeypatch: pytest.MonkeyPatch, *mious: float) -> None:
    """Make the evaluations of the next runs return these scores."""
    scores = iter(mious)

    def evaluate(*_: Any, **__: Any) -> Report:
        return Report(SetScores("all sets", 3, segmentation=SegmentationScores(miou=next(scores))), ())

    monkeypatch.setattr("blitznet.train.validate.evaluate", evaluate)


def test_patience_ends_the_run_at_the_same_step_when_resumed(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=12, eval_every=2, patience=2)
    script_scores(monkeypatch, 0.1, 0.3, 0.2, 0.3)
    notices: list[str] = []
    train(whole, notify=notices.append)
    stopped = "stopped after step 8 of 12: --patience 2 evaluations without a better score"
    assert notices == [stopped]
    assert steps_of(whole.out) == list(range(1, 9))
    assert RunFolder(whole.out).read_best() == BestScore(0.3, 4)
    notices.clear()
    train(whole, notify=notices.append)
    assert notices == [f"{whole.out}: resuming after step 8 of 12", stopped]
    assert steps_of(whole.out) == list(range(1, 9))

    cut = replace(whole, out=tmp_path / "cut")
    script_scores(monkeypatch, 0.1, 0.3, 0.2, 0.2, 0.3)  # step 6 is evaluated again: its evaluation was lost
    train(cut, stop_after=5)
    train(cut, stop_after=6)
    log = cut.out / "log.jsonl"
    log.write_text(
        "".join(line for line in log.read_text().splitlines(keepends=True) if '"score/miou": 0.2' not in line)
    )
    train(cut)
    assert steps_of(cut.out) == list(range(1, 9))
    for name in (*CHECKPOINTS, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)

    script_scores(monkeypatch, 0.4, 0.5)
    train(replace(cut, patience=3))
    assert steps_of(cut.out) == list(range(1, 13))
    assert RunFolder(cut.out).read_best() == BestScore(0.5, 12)


def kill_at_random_moment(config: TrainConfig, *, min_lines: int, rng: random.Random) -> None:
    """Start the run in a new process and kill it at a random moment after some lines of its log."""
    process = own_process(config)
    log = config.out / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < min_lines):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


@pytest.mark.slow
def test_killed_at_a_random_moment_and_resumed_equals_uninterrupted(sets: tuple[str, str], tmp_path: Path) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=40, save_every=2, eval_every=20)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    rng = random.Random(os.getpid())
    kill_at_random_moment(cut, min_lines=rng.randrange(2, 25), rng=rng)
    assert max(steps_of(cut.out)) <= 40
    train(cut)
    assert steps_of(cut.out) == list(range(1, 41))
    assert [line["step"] for line in lines(cut.out) if "score/ap50" in line] == [20, 40]
    for name in (*CHECKPOINTS, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_many_times_and_resumed_equals_uninterrupted(
    sets: tuple[str, str], tmp_path: Path, workers: int
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=150, eval_every=25, workers=workers)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    rng = random.Random(workers)
    for min_lines in (3, 20, 55, 90):
        kill_at_random_moment(cut, min_lines=min_lines, rng=rng)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 151))
    for name in (*CHECKPOINTS, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)


def test_files_of_the_run_folder(sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = tiny_config(sets[:1], tmp_path / "deep" / "run", val=sets[1:], steps=3, log_every=2, eval_every=2)
    recorder = Recorder()
    model = train(config, callbacks=[recorder])
    assert model == config.out / "last.safetensors"
    assert sorted(path.name for path in config.out.iterdir()) == [
        *("best.safetensors", "best.txt", "config.json", "last.safetensors", "log.jsonl"),
        *("plot.png", "predictions", "state.safetensors", "tensorboard"),
    ]
    assert recorder.calls == ["1 of 3", "2 of 3", "eval 2", "3 of 3", "eval 3", "end"]
    assert steps_of(config.out) == [1, 2]
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2, 3]
    first = lines(config.out)[0]
    parts = {f"loss/{name}" for name in ("segmentation", "classification", "localization", "total")}
    assert first.keys() == {"step", "grad_norm", "lr", "images_per_second", "data_time", *parts}
    _, spec = load_model(model)
    assert spec == replace(tiny_models.PAPER, provenance="trained on voc:train@train in a run of 3 steps")
    assert config.conflicts((config.out / "config.json").read_text()) == ()


def test_complete_run_is_only_evaluated(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", steps=2)
    train(config)
    before = (config.out / "state.safetensors").read_bytes()
    train(replace(config, val=sets[1:]))
    train(replace(config, val=sets[1:]))
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2]
    assert steps_of(config.out) == [1, 2]
    assert (config.out / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_completes_its_step_and_can_be_resumed(
    sets: tuple[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", workers=1)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    handler = signal.getsignal(number)
    expected = f"stopped after step 5 of 8; run the same command to resume from {cut.out}"
    with pytest.raises(TrainingInterrupted) as caught:
        train(cut, callbacks=[recorder := Recorder(lambda step: signal.raise_signal(number) if step == 4 else None)])
    assert recorder.calls[-2:] == ["5 of 8", "failed"]
    assert str(caught.value) == expected
    assert signal.getsignal(number) is handler
    assert steps_of(cut.out) == [1, 2, 3, 4, 5]
    train(cut, callbacks=[recorder := Recorder()])
    assert recorder.calls == ["6 of 8", "7 of 8", "8 of 8", "end"]
    for name in CHECKPOINTS:
        assert_equal(whole.out / name, cut.out / name)


def test_second_interrupt_stops_at_once_and_keeps_the_last_checkpoint(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blitznet.core.interrupts.REPEAT_SECONDS", 0.0)
    whole = tiny_config(sets[:1], tmp_path / "whole")
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")

    def interrupt_twice(step: int) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(cut, callbacks=[Recorder(interrupt_twice)])
    assert not isinstance(caught.value, TrainingInterrupted)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 9))
    for name in CHECKPOINTS:
        assert_equal(whole.out / name, cut.out / name)


def test_run_interrupted_in_an_evaluation_is_evaluated_when_resumed(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", val=sets[1:], steps=4, eval_every=2)

    def interrupt(*arguments: Any, after_image: Callable[[], None], **others: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        after_image()
        pytest.fail("the evaluation was not interrupted")

    monkeypatch.setattr("blitznet.train.loop.validate", interrupt)
    with pytest.raises(TrainingInterrupted, match="stopped after step 2 of 4"):
        train(config)
    monkeypatch.setattr("blitznet.train.loop.validate", validate)
    train(config)
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2, 4]
    assert steps_of(config.out) == [1, 2, 3, 4]


def test_other_options_are_refused_and_no_file_changes(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", steps=2)
    train(config)
    before = {path.name: path.read_bytes() for path in config.out.iterdir() if path.is_file()}
    with pytest.raises(UsageError, match=r"got another: --batch 2, was 4; --lr 0\.1, was 0\.003"):
        train(replace(config, lr=0.1, batch=2))
    assert {path.name: path.read_bytes() for path in config.out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "--data: expected at least one training set"),
        ({"batch": 1}, "--batch 1: expected two images or more for each of 1 processes x 1 parts, .* --freeze-bn all"),
        ({"batch": 3, "accumulate": 3}, "--batch 3: expected two images or more for each of 1 processes x 3 parts"),
    ],
)
def test_invalid_runs_are_refused(sets: tuple[str, str], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = tiny_config(sets[:1], tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        train(replace(config, **changes))
    assert not config.out.exists()


def test_batch_of_one_with_frozen_batch_norms(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", batch=1, freeze_bn=("all",), ema=None, val=sets[1:], steps=4)
    train(replace(config, eval_every=2))
    net, _ = load_model(config.out / "last.safetensors")
    counted = {name: value for name, value in net.named_buffers() if name.endswith("num_batches_tracked")}
    assert counted
    assert not any(counted.values()), "evaluations keep the statistics"


def test_leaks_are_refused_unless_allowed_or_dropped(sets: tuple[str, str], tmp_path: Path) -> None:
    leaky = replace(tiny_config(sets[:1], tmp_path / "run", val=sets[:1]), steps=1)
    with pytest.raises(DataError, match="are also in the training set"):
        train(leaky)
    with pytest.raises(UsageError, match="expected at least one image"):
        train(replace(leaky, drop_leaks=True))
    train(replace(leaky, allow_leaks=True))


def test_non_finite_loss_stops_the_run_and_saves_no_state(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", save_every=2)
    train(config, stop_after=2)
    before = (config.out / "state.safetensors").read_bytes()
    nan = replace(config, out=tmp_path / "nan", lr=1e18, warmup=0, clip_grad=None, save_every=100)
    with pytest.raises(NonFiniteLossError, match=r"toy_.*: expected a finite loss, got segmentation .*; lower --lr"):
        train(nan)
    assert not (nan.out / "state.safetensors").exists()
    assert (config.out / "state.safetensors").read_bytes() == before


def write_default_model(folder: Path, spec: Spec) -> None:
    """Write a model that replaces the default one."""
    torch.manual_seed(2)
    save_model(folder / "blitznet300-lite.safetensors", build(spec), spec, dtype=torch.float16)


def test_fine_tuning_uses_the_classes_of_the_data(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_default_model(tmp_path, replace(tiny_models.PAPER, classes=("square", "bird", "ell")))
    replace_packaged(monkeypatch, tmp_path)
    config = read(["--data", sets[0], "--val", sets[1], "--out", str(tmp_path / "run"), "--steps", "2"])
    assert isinstance(config, TrainConfig)
    assert (config.init, config.model) == ("model", "blitznet300-lite")
    model = train(replace(config, batch=4, workers=0, threads=1))
    _, spec = load_model(model)
    assert spec.classes == synthetic_data.NAMES
    assert any("score/ap50" in line for line in lines(config.out))


def test_sets_of_different_classes(sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_default_model(tmp_path, tiny_models.PAPER)
    replace_packaged(monkeypatch, tmp_path)
    coco = synthetic_data.write_coco(
        tmp_path / "coco", [replace(d, id=f"c{k}") for k, d in enumerate(synthetic_data.draw(5, seed=9))]
    )
    data = (f"{sets[0]},annotated=square", f"{coco},annotated=ell+cross")
    config = tiny_config(data, tmp_path / "run", model="blitznet300-lite", init="model", steps=2)
    _, spec = load_model(train(config))
    assert spec.classes == ("square", "ell", "cross")


def test_notices(sets: tuple[str, str], tmp_path: Path) -> None:
    data = (sets[0], sets[1])
    config = tiny_config(
        data, tmp_path / "run", val=sets[1:], class_names=("square", "cross"), drop_leaks=True, steps=2
    )
    notices: list[str] = []
    train(config, notify=notices.append)
    mapped = [f"{text}: treated as background, not a trained class: ell" for text in (*data, sets[1])]
    left_out = "3 training images are left out because evaluation sets contain them"
    assert notices == [*mapped, left_out]
    train(config, notify=notices.append)
    assert notices[4:] == [*mapped, left_out, f"{config.out}: resuming after step 2 of 2"]


@pytest.mark.parametrize(
    ("config", "frozen"),
    [
        (TrainConfig(freeze_bn=("encoder", "downscale", "ssd_head")), ("encoder.", "downscale.")),
        (TrainConfig(freeze_bn=("detection.box_features",)), ("detection.box_features.",)),
        (TrainConfig(freeze=("encoder", "downscale")), ("encoder.", "downscale.")),
        (TrainConfig(train_only=("segmentation", "detection")), ("encoder.", "downscale.", "upscale.")),
        (TrainConfig(frozen_stages=1), ("encoder.stem.", *(f"encoder.blocks.{index}." for index in range(3)))),
        (
            TrainConfig(freeze_bn=("detection",), frozen_stages=1),
            ("encoder.stem.", "encoder.blocks.0.", "encoder.blocks.1.", "encoder.blocks.2.", "detection."),
        ),
    ],
    ids=["freeze_bn", "a part", "freeze", "train_only", "frozen_stages", "frozen_stages and freeze_bn"],
)
def test_frozen_batch_norms(config: TrainConfig, frozen: tuple[str, ...]) -> None:
    net = build(blitznet300_lite())
    wrap_model(net, config, ProcessGroup(0, 1, torch.device("cpu")))
    norms = {name: module.training for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, training in norms.items() if not training} == {n for n in norms if n.startswith(frozen)}
    assert any(norms.values())


def test_fit_equals_the_run_without_files(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", steps=4)
    expected = load_model(train(config))[0].state_dict()
    net, spec = make_network(config, ())
    data = prepare_data(open_all(config.data), [], spec.classes, config)
    steps: list[int] = []
    batches = make_batches(data.training, data.sampler, spec, config)
    fitted = fit(net, spec, batches, config, on_step=lambda step, _: steps.append(step))
    assert steps == [1, 2, 3, 4]
    assert all(torch.equal(value, expected[name]) for name, value in fitted.state_dict().items())
    net, _ = make_network(config, ())
    fit(net, spec, make_batches(data.training, data.sampler, spec, config), config, on_step=lambda step, _: step == 2)
