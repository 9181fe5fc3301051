"""Pipeline: references between stages are checked; the shipped pipelines are complete."""

from dataclasses import replace

import pytest

from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.data.sources import parse_source
from blitznet.pipelines.pipeline import (
    CalibrateStage,
    Pipeline,
    PseudoMaskStage,
    QuantizeStage,
    SoftLabelStage,
    SoupStage,
    Stage,
    TrainStage,
    WiseFtStage,
    model_inputs,
)
from blitznet.pipelines.shipped import HOLDOUT, PIPELINES
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import derive_spec

DATA = ("voc:{root}/train@train",)
TRAIN = TrainStage("base", TrainConfig(data=DATA))
MASKS_OF_FILE = PseudoMaskStage("masks", "teacher.onnx", DATA)
MASKS = PseudoMaskStage("masks", "base", DATA)
QUANTIZE = QuantizeStage("int8", "base", DATA)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "expected a QuantizeStage as the last stage"),
        ((TRAIN,), "expected a QuantizeStage as the last stage"),
        ((QUANTIZE, TRAIN), "stage int8: expected an earlier stage with a model, got base"),
        ((TRAIN, TRAIN, QUANTIZE), "expected unique stage names, got base twice"),
        (
            (TRAIN, MASKS, SoupStage("soup", ("base", "masks")), QUANTIZE),
            "stage soup: expected an earlier stage with a model, got m",
        ),
        (
            (replace(TRAIN, pseudo_masks="masks"), MASKS, QUANTIZE),
            "stage base: expected an earlier PseudoMaskStage, got masks",
        ),
        (
            (MASKS_OF_FILE, replace(TRAIN, soft_labels="masks"), QUANTIZE),
            "stage base: expected an earlier SoftLabelStage, got masks",
        ),
        (
            (TRAIN, SoupStage("soup", ("base", "base")), WiseFtStage("mixed", "soup", 0.5, ("encoder",)), QUANTIZE),
            "stage mixed: expected an earlier TrainStage, got soup",
        ),
        (
            (TRAIN, QUANTIZE, CalibrateStage("c", "int8", DATA)),
            "stage c: expected an earlier stage with a model, got int8",
        ),
    ],
)
def test_invalid_references_are_refused(stages: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline("toy", stages, DATA)


def test_model_inputs() -> None:
    assert model_inputs(TRAIN) == ()
    assert model_inputs(replace(TRAIN, name="more", init_from="base")) == ("base",)
    assert model_inputs(SoupStage("soup", ("a", "b"))) == ("a", "b")
    assert model_inputs(WiseFtStage("mixed", "base", 0.5, ("encoder",))) == ("base",)
    assert model_inputs(QUANTIZE) == ("base",)


@pytest.mark.parametrize("name", PIPELINES)
def test_shipped_pipelines(name: str) -> None:
    pipeline = PIPELINES[name]()
    assert pipeline.name == name
    assert {type(stage) for stage in pipeline.stages} >= {SoftLabelStage, TrainStage, CalibrateStage, QuantizeStage}
    configs = [stage.config for stage in pipeline.stages if isinstance(stage, TrainStage)]
    specs = [derive_spec(get_spec(config.model), config, config.class_names) for config in configs]
    assert replace(specs[-1], name=name) == get_spec(name)
    assert {spec.network for spec in specs} == {get_spec(name).network}  # later stages continue with the weights
    assert {config.holdout for config in configs} == {HOLDOUT}
    calibration = [stage for stage in pipeline.stages if isinstance(stage, CalibrateStage)]
    assert all(stage.holdout == HOLDOUT for stage in calibration)
    data = {parse_source(text).root for config in configs for text in config.data}
    assert all("{root}" in str(root) for root in data)
    assert pipeline.expected.keys() in ({"ap50_area", "ap50_frequent", "miou"}, set())
