"""The run: killed at any moment and resumed equals never killed, and what stands in its folder."""

import os
import random
import signal
import time
from collections.abc import Callable
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
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from blitznet.train import initialize as start
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import ProcessGroup
from blitznet.train.interrupts import TrainingInterrupted
from blitznet.train.loop import _executed, train
from blitznet.train.step import NonFiniteLossError
from blitznet.train.validate import validate
from support import synthetic_data, tiny_models
from support.training_runs import assert_equal, lines, own_process, tiny_config, toy_sets

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
]
FILES = ("state.safetensors", "last.safetensors")


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


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="adamw"),
        pytest.param({"workers": 2, "optimizer": "adam", "ema": None}, id="adam, 2 workers, no average"),
        pytest.param(
            {"optimizer": "sgd", "accumulate": 2, "precision": "bfloat16"}, id="nesterov, parts, bfloat16"
        ),
        pytest.param({"model": "tiny-lite", "freeze_bn": ("all",), "repeat_threshold": 0.5}, id="lite, frozen, repeats"),
    ],
)
def test_stopped_between_checkpoints_and_resumed_equals_never_stopped(
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
    for name in FILES:
        assert_equal(whole.out / name, cut.out / name)
    mine, theirs = lines(whole.out), lines(cut.out)
    for first, second in zip(mine, theirs, strict=True):
        assert {k: v for k, v in first.items() if k.startswith("loss/")} == {
            k: v for k, v in second.items() if k.startswith("loss/")
        }


def kill_somewhere(config: TrainConfig, *, least: int, rng: random.Random) -> None:
    """Start the run in a process of its own and kill it at a random moment after some lines of its log."""
    process = own_process(config)
    log = config.out / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < least):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


def test_killed_at_a_random_moment_and_resumed_equals_never_killed(sets: tuple[str, str], tmp_path: Path) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=40, save_every=2, eval_every=20)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    rng = random.Random(os.getpid())
    kill_somewhere(cut, least=rng.randrange(2, 25), rng=rng)
    assert max(steps_of(cut.out)) <= 40
    train(cut)
    assert steps_of(cut.out) == list(range(1, 41))
    assert [line["step"] for line in lines(cut.out) if "score/ap50" in line] == [20, 40]
    for name in (*FILES, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_many_times_and_resumed_equals_never_killed(sets: tuple[str, str], tmp_path: Path, workers: int) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=150, eval_every=25, workers=workers)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    rng = random.Random(workers)
    for least in (3, 20, 55, 90):
        kill_somewhere(cut, least=least, rng=rng)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 151))
    for name in (*FILES, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)


def test_what_stands_in_the_folder(sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = tiny_config(sets[:1], tmp_path / "deep" / "run", val=sets[1:], steps=3, log_every=2, eval_every=2)
    seen: list[int] = []
    model = train(config, on_step=lambda step, losses: seen.append(step))
    assert model == config.out / "last.safetensors"
    assert sorted(path.name for path in config.out.iterdir()) == [
        *("best.safetensors", "best.txt", "config.json", "last.safetensors", "log.jsonl"),
        *("predictions", "plot.png", "state.safetensors", "tensorboard"),
    ]
    assert seen == [1, 2, 3]
    assert steps_of(config.out) == [1, 2]
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2, 3]
    first = lines(config.out)[0]
    parts = {f"loss/{name}" for name in ("segmentation", "classification", "localization", "total")}
    assert first.keys() == {"step", "grad_norm", "lr", "images_per_second", "data_time", *parts}
    _, spec = load_model(model)
    assert spec == replace(tiny_models.PAPER, provenance="learned voc:train@train in 3 steps")
    assert config.conflicts((config.out / "config.json").read_text()) == ()


def test_a_finished_run_is_only_evaluated_anew(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", steps=2)
    train(config)
    before = (config.out / "state.safetensors").read_bytes()
    train(replace(config, val=sets[1:]))
    train(replace(config, val=sets[1:]))
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2]
    assert steps_of(config.out) == [1, 2]
    assert (config.out / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_ends_the_step_and_says_how_to_go_on(
    sets: tuple[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", workers=1)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    handler = signal.getsignal(number)
    expected = f"stopped after step 5 of 8; the same command goes on from {cut.out}"
    with pytest.raises(TrainingInterrupted) as caught:
        train(cut, on_step=lambda step, _: signal.raise_signal(number) if step == 4 else None)
    assert str(caught.value) == expected
    assert signal.getsignal(number) is handler
    assert steps_of(cut.out) == [1, 2, 3, 4, 5]
    seen: list[int] = []
    train(cut, on_step=lambda step, _: seen.append(step))
    assert seen == [6, 7, 8]
    for name in FILES:
        assert_equal(whole.out / name, cut.out / name)


def test_asked_twice_it_stops_at_once_and_the_last_checkpoint_is_whole(sets: tuple[str, str], tmp_path: Path) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole")
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")

    def twice(step: int, losses: dict[str, float]) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(cut, on_step=twice)
    assert not isinstance(caught.value, TrainingInterrupted)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 9))
    for name in FILES:
        assert_equal(whole.out / name, cut.out / name)


def test_stopped_in_an_evaluation_it_is_evaluated_on_resuming(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", val=sets[1:], steps=4, eval_every=2)

    def asked(*given: Any, between: Callable[[], None]) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        between()
        pytest.fail("it went on")

    monkeypatch.setattr("blitznet.train.loop.validate", asked)
    with pytest.raises(TrainingInterrupted, match="stopped after step 2 of 4"):
        train(config)
    monkeypatch.setattr("blitznet.train.loop.validate", validate)
    train(config)
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2, 4]
    assert steps_of(config.out) == [1, 2, 3, 4]


def test_another_config_is_refused_before_anything_is_touched(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", steps=2)
    train(config)
    before = {path.name: path.read_bytes() for path in config.out.iterdir() if path.is_file()}
    with pytest.raises(
        UsageError, match=r"begun otherwise: --lr 0\.1, was 0\.003; --batch 2, was 4|--batch 2.*--lr 0\.1"
    ):
        train(replace(config, lr=0.1, batch=2))
    assert {path.name: path.read_bytes() for path in config.out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "nothing to learn from: give --data"),
        ({"batch": 1}, "--batch 1 leaves one image to each of 1 processes x 1 parts, .* --freeze-statistics"),
        ({"batch": 3, "accumulate": 3}, "--batch 3 leaves one image to each of 1 processes x 3 parts"),
    ],
)
def test_what_cannot_be_run_is_told(
    sets: tuple[str, str], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = tiny_config(sets[:1], tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        train(replace(config, **changes))
    assert not config.out.exists()


def test_one_image_is_a_batch_where_statistics_are_frozen(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", batch=1, freeze_bn=("all",), ema=None, val=sets[1:], steps=4)
    train(replace(config, eval_every=2))
    net, _ = load_model(config.out / "last.safetensors")
    counted = {name: value for name, value in net.named_buffers() if name.endswith("num_batches_tracked")}
    assert counted
    assert not any(counted.values()), "evaluations leave the statistics frozen"


def test_leaks_are_refused_unless_allowed_or_dropped(sets: tuple[str, str], tmp_path: Path) -> None:
    leaky = replace(tiny_config(sets[:1], tmp_path / "run", val=sets[:1]), steps=1)
    with pytest.raises(DataError, match="are trained on too"):
        train(leaky)
    with pytest.raises(UsageError, match="hold no image"):
        train(replace(leaky, drop_leaks=True))
    train(replace(leaky, allow_leaks=True))


def test_a_broken_loss_ends_the_run_and_leaves_the_last_good_state(sets: tuple[str, str], tmp_path: Path) -> None:
    config = tiny_config(sets[:1], tmp_path / "run", save_every=2)
    train(config, stop_after=2)
    before = (config.out / "state.safetensors").read_bytes()
    nan = replace(config, out=tmp_path / "nan", lr=1e18, warmup=0, clip_grad=None, save_every=100)
    with pytest.raises(NonFiniteLossError, match=r"the loss is not finite \(segmentation .*\) on toy_.*; lower --lr"):
        train(nan)
    assert not (nan.out / "state.safetensors").exists()
    assert (config.out / "state.safetensors").read_bytes() == before


def shipped(folder: Path, spec: Spec) -> None:
    """A model where the package has its default one."""
    torch.manual_seed(2)
    save_model(folder / "blitznet300-lite.safetensors", build(spec), spec, dtype=torch.float16)


def test_own_data_fine_tunes_the_default_model(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blitznet.core.model_paths.WEIGHTS", tmp_path)
    shipped(tmp_path, replace(tiny_models.PAPER, classes=("square", "bird", "ell")))
    config = read(["--data", sets[0], "--val", sets[1], "--out", str(tmp_path / "run"), "--steps", "2"])
    assert (config.start, config.model) == ("model", "blitznet300-lite")
    model = train(replace(config, batch=4, workers=0, threads=1))
    _, spec = load_model(model)
    assert spec.classes == synthetic_data.NAMES
    assert any("score/ap50" in line for line in lines(config.out))


def test_sets_of_different_classes_teach_their_union(
    sets: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blitznet.core.model_paths.WEIGHTS", tmp_path)
    shipped(tmp_path, tiny_models.PAPER)
    other = synthetic_data.write_coco(
        tmp_path / "coco", [replace(d, id=f"c{k}") for k, d in enumerate(synthetic_data.draw(5, seed=9))]
    )
    data = (f"{sets[0]},annotated=square", f"{other},annotated=ell+cross")
    config = tiny_config(data, tmp_path / "run", model="blitznet300-lite", init="model", steps=2)
    _, spec = load_model(train(config))
    assert spec.classes == ("square", "ell", "cross")


def test_the_user_is_told_what_to_know(sets: tuple[str, str], tmp_path: Path) -> None:
    data = (sets[0], sets[1])
    config = tiny_config(data, tmp_path / "run", val=sets[1:], class_names=("square", "cross"), drop_leaks=True, steps=2)
    told: list[str] = []
    train(config, notify=told.append)
    mapped = [f"{text}: ell: none of the classes learned, so background" for text in (*data, sets[1])]
    left_out = "3 training images are in the evaluation sets too and are left out"
    assert told == [*mapped, left_out]
    train(config, notify=told.append)
    assert told[4:] == [*mapped, left_out, f"{config.out}: going on after step 2 of 2"]


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (TrainConfig(ssdlite=True), ("encoder.", "downscale.", "ssd_head.")),
        (TrainConfig(encoder_lr_mult=0), ("encoder.", "downscale.")),
        (TrainConfig(learn=("segmentation", "detection", "ssd_head")), ("encoder.", "downscale.", "upscale.")),
    ],
    ids=["ssdlite", "frozen encoder", "learning heads"],
)
def test_what_came_trained_keeps_its_statistics(config: TrainConfig, published: tuple[str, ...]) -> None:
    net = build(blitznet300_lite())
    _executed(net, config, ProcessGroup(0, 1, torch.device("cpu")))
    norms = {name: module.training for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, learns in norms.items() if not learns} == {n for n in norms if n.startswith(published)}
    assert any(norms.values())
