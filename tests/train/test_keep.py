"""--keep: the classes of the initial model stay; labels win, and the teacher decides about what they leave unknown."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import Spec
from blitznet.data.train_sample import TrainSample
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.deploy import normalize
from blitznet.nets.model_files import load_model, save_model
from blitznet.nets.parts import HeadOutputs
from blitznet.nets.transfer import init_new_classes, transfer
from blitznet.train.batch import Batch, collate
from blitznet.train.boxes import encode
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network, make_teacher, provenance
from blitznet.train.keep import KeepTargets, KeepTeacher, extend_classes, unknown_divergence
from blitznet.train.loop import train
from blitznet.train.losses import LossConfig, Normalizers, losses
from blitznet.train.matching import Targets, match
from blitznet.train.trainer import fit
from support import synthetic_data, tiny_models
from support.training_runs import assert_equal, tiny_config

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
PAPER, LITE = tiny_models.specs()
OLD, NEW = ("cross", "ell"), ("square",)


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


COLORS = {"red": (230, 40, 40), "green": (40, 220, 60)}


def colored_sample(rng: np.random.Generator, spec: Spec, labeled: Sequence[str]) -> TrainSample:
    """Two rectangles, each red or green, of which those of some colors are labeled."""
    size, stride = spec.size[0], spec.network.segmentation_stride
    image, class_map = rng.integers(0, 90, (size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    boxes, labels = [], []
    for left in (0, size // 2):
        width, height = rng.integers(20, 31, 2)
        x, y = left + int(rng.integers(0, size // 2 - width + 1)), int(rng.integers(0, size - height + 1))
        name = str(rng.choice(list(COLORS)))
        image[y : y + height, x : x + width] = COLORS[name]
        if name in labeled:
            labels.append(spec.classes.index(name))
            class_map[y : y + height, x : x + width] = labels[-1] + 1
            boxes.append((x / size, y / size, (x + width) / size, (y + height) / size))
    annotated = np.isin(spec.classes, labeled)
    return TrainSample(
        id="",
        image=image,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=np.asarray(labels, np.int64),
        crowd=np.zeros(len(labels), np.bool_),
        class_map=class_map[stride // 2 :: stride, stride // 2 :: stride].copy(),
        annotated_box_classes=annotated,
        annotated_mask_classes=annotated,
    )


def colored_batches(spec: Spec, labeled: Sequence[str], seed: int, size: int = 8) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    while True:
        yield collate([colored_sample(rng, spec, labeled) for _ in range(size)])


def mean_probability(net: BlitzNet, spec: Spec, name: str) -> tuple[float, float]:
    """Of a class, at the anchors and at the pixels of its objects."""
    batch, label = next(colored_batches(spec, (name,), 99, 16)), spec.classes.index(name) + 1
    targets = match(anchors_of(spec), batch)
    with torch.no_grad():
        outputs = net.eval()(normalize(batch.images, spec))
    boxes = outputs.logits.softmax(2).flatten(0, 1)[targets.positives, label]
    pixels = outputs.segmentation_logits.softmax(1)[:, label][batch.class_map == label]
    return boxes.mean().item(), pixels.mean().item()


def save_initial(path: Path, spec: Spec = PAPER, classes: tuple[str, ...] = OLD) -> tuple[BlitzNet, Spec]:
    """A randomly initialized model of the old classes."""
    torch.manual_seed(3)
    spec = replace(spec, classes=classes)
    net = build(spec).eval()
    save_model(path, net, spec)
    return net, spec


def grown(net: BlitzNet, old: Spec, classes: tuple[str, ...]) -> tuple[BlitzNet, Spec]:
    """The network with new classes, as a run begins with it."""
    spec = replace(old, classes=classes)
    new = build(spec).eval()
    transfer(net, old, new, spec)
    init_new_classes(new, len(old.classes), spec)
    return new, spec


def batch_of(spec: Spec, images: int = 2, **changes: Any) -> Batch:
    """Random images without labels: only the last class is annotated, and no object of it exists."""
    rng, stride = np.random.default_rng(5), spec.network.segmentation_stride
    annotated = np.arange(len(spec.classes)) == len(spec.classes) - 1
    samples = [
        TrainSample(
            id=str(k),
            image=rng.integers(0, 256, (*spec.size, 3), np.uint8),
            boxes=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            crowd=np.zeros(0, np.bool_),
            class_map=np.zeros([edge // stride for edge in spec.size], np.uint8),
            annotated_box_classes=annotated,
            annotated_mask_classes=annotated,
        )
        for k in range(images)
    ]
    return replace(collate(samples), **changes)


def anchors_of(spec: Spec) -> Tensor:
    return torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy())


class FixedNet(torch.nn.Module):
    """Returns the same outputs for all images."""

    def __init__(self, outputs: HeadOutputs) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> HeadOutputs:
        return self.outputs


def targets_from(
    outputs: HeadOutputs, spec: Spec, batch: Batch, classes: tuple[str, ...] = OLD
) -> tuple[KeepTargets, Targets]:
    """The targets of a teacher with these outputs, and the matched labels."""
    matched = match(anchors_of(spec), batch)
    teacher = KeepTeacher(FixedNet(outputs), classes, spec)  # type: ignore[arg-type] # acts as a network
    return teacher(normalize(batch.images, spec), batch, matched), matched


def background_outputs(spec: Spec, images: int, num_old: int = 2) -> HeadOutputs:
    """A teacher's outputs that say background everywhere."""
    logits = torch.zeros(images, len(anchors_of(spec)), num_old + 1)
    stride = spec.network.segmentation_stride
    pixels = torch.zeros(images, num_old + 1, *(edge // stride for edge in spec.size))
    logits[..., 0], pixels[:, 0] = 8.0, 8.0
    return HeadOutputs(torch.zeros(images, logits.shape[1], 4), logits, pixels)


SPEC = replace(PAPER, classes=(*OLD, *NEW))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (OLD, NEW, ("cross", "ell", "square")),
        (("tvmonitor", "cat"), ("dog", "TV", "dog"), ("tvmonitor", "cat", "dog")),
        (("sofa",), ("couch",), ("sofa",)),
        (("cat",), ("bike", "bicycle", "zebra"), ("cat", "bike", "zebra")),
        (("cat",), (), ("cat",)),
    ],
)
def test_new_names_are_appended_once(old: tuple[str, ...], new: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert extend_classes(old, new) == expected


@pytest.mark.parametrize(
    ("spec", "new"),
    [
        pytest.param(PAPER, NEW, id="paper, one class"),
        pytest.param(
            replace(LITE, network=replace(LITE.network, ssd_head=True)), ("a", "b", "c"), id="SSD head, three classes"
        ),
    ],
)
def test_a_run_begins_with_the_teachers_outputs(tmp_path: Path, spec: Spec, new: tuple[str, ...]) -> None:
    net, old = save_initial(tmp_path / "old.safetensors", spec)
    student, spec = grown(net, old, (*OLD, *new))
    batch = batch_of(spec)
    images = normalize(batch.images, spec)
    outputs = student(images)
    targets = KeepTeacher(net, OLD, spec)(images, batch, match(anchors_of(spec), batch))
    assert targets.anchors is not None
    assert targets.anchors.probability.max() > 0.1
    assert targets.loss(outputs, 1.0, 1.0).item() == pytest.approx(0, abs=1e-3)
    for actual, expected, axis in (
        (outputs.logits, net(images).logits, 2),
        (outputs.segmentation_logits, net(images).segmentation_logits, 1),
    ):
        merged = actual.softmax(axis).movedim(axis, -1)
        merged = torch.cat([merged[..., :1] + merged[..., 3:].sum(-1, keepdim=True), merged[..., 1:3]], -1)
        torch.testing.assert_close(merged, expected.softmax(axis).movedim(axis, -1))


def test_divergence_equals_slow_version() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6, 5))  # background, three old classes, a new one
    unknown = rng.random((6, 3)) < 0.6
    probability = rng.dirichlet(np.ones(4), 6)[:, 1:] * unknown
    expected = 0.0
    for row, p, is_unknown in zip(logits, probability, unknown, strict=True):
        q = np.exp(row) / np.exp(row).sum()
        rest = 1 - q[1:4][is_unknown].sum()
        pairs = [*zip(p[is_unknown], q[1:4][is_unknown], strict=True), (1 - p.sum(), rest)]
        expected += sum(a * np.log(a / b) for a, b in pairs)
    actual = unknown_divergence(*map(torch.from_numpy, (logits, probability, unknown)))
    assert actual.item() == pytest.approx(expected, rel=1e-9)


def test_unlabeled_old_objects_are_not_pushed_to_background() -> None:
    """Where the labels say background and the teacher says cross, the gradient raises cross above background."""
    batch = batch_of(SPEC, 1)
    teacher_outputs = background_outputs(SPEC, 1)
    assert teacher_outputs.logits is not None
    assert teacher_outputs.segmentation_logits is not None
    teacher_outputs.logits[0, 7] = torch.tensor([0.0, 6.0, 0.0])
    teacher_outputs.segmentation_logits[0, :, 2, 3] = torch.tensor([0.0, 6.0, 0.0])
    targets, matched = targets_from(teacher_outputs, SPEC, batch)
    gradients = []
    for teacher_targets in (targets, None):
        outputs = HeadOutputs(
            torch.zeros(1, len(anchors_of(SPEC)), 4, requires_grad=True),
            torch.zeros(1, len(anchors_of(SPEC)), 4, requires_grad=True),
            torch.zeros(1, 4, 8, 8, requires_grad=True),
        )
        losses(outputs, batch, matched, LossConfig(distillation=1.0), teacher_targets=teacher_targets).total.backward()  # type: ignore[no-untyped-call]
        assert outputs.logits is not None
        assert outputs.segmentation_logits is not None
        assert outputs.logits.grad is not None
        assert outputs.segmentation_logits.grad is not None
        gradients.append((outputs.logits.grad[0, 7], outputs.segmentation_logits.grad[0, :, 2, 3]))
    for distilled, plain in zip(*gradients, strict=True):
        assert distilled[1] < min(0, plain[1])
        assert distilled[0] > plain[0]
        assert plain[0] == pytest.approx(plain[1].item()), "without a teacher, background and old classes are one"


def test_boxes_of_confident_anchors_stay_those_of_the_teacher() -> None:
    """Smooth L1 of four offsets that are 0.5 away, at an anchor with an object of the teacher, and nowhere else."""
    batch = batch_of(SPEC, 1)
    teacher_outputs = background_outputs(SPEC, 1)
    assert teacher_outputs.logits is not None
    teacher_outputs.logits[0, 7] = torch.tensor([0.0, 6.0, 0.0])
    targets, _ = targets_from(teacher_outputs, SPEC, batch)
    assert targets.num_objects == 2, "the anchor, and one more for the image"
    values = []
    for anchor in (None, 7, 8):
        offsets = torch.zeros(1, len(anchors_of(SPEC)), 4)
        if anchor is not None:
            offsets[0, anchor] = 0.5
        outputs = HeadOutputs(offsets, torch.zeros(1, len(offsets[0]), 4), torch.zeros(1, 4, 8, 8))
        values.append(targets.loss(outputs, 2.0, 1.0).item())
    assert values[1] - values[0] == pytest.approx(4 * 0.125 / 2, abs=1e-4)
    assert values[2] == values[0]


@pytest.mark.parametrize(("crowd", "is_target"), [(False, False), (True, True)])
def test_a_crowd_region_is_no_label_that_wins_over_the_teacher(crowd: bool, is_target: bool) -> None:
    """The teacher's box at anchor 7 is that of the region; a labeled object there would be right instead."""
    x, y, w, h = anchors_of(SPEC)[7].tolist()
    region = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2]])
    fields = {"boxes": region, "labels": torch.tensor([2]), "image_index": torch.tensor([0])}
    batch = batch_of(SPEC, 1, **fields, crowd=torch.tensor([crowd]))
    teacher_outputs = background_outputs(SPEC, 1)
    assert teacher_outputs.logits is not None
    teacher_outputs.logits[0, 7] = torch.tensor([0.0, 6.0, 0.0])
    targets, _ = targets_from(teacher_outputs, SPEC, batch)
    assert targets.anchors is not None
    assert (targets.anchors.probability[0, 7].sum() > 0.5) == is_target


def test_labels_win_over_the_teacher() -> None:
    """A square that the teacher takes for a cross: neither its positives, nor other anchors that predict its box."""
    anchors = anchors_of(SPEC)
    box = torch.tensor([[0.3, 0.3, 0.7, 0.7]])
    batch = batch_of(
        SPEC,
        2,
        boxes=box,
        labels=torch.tensor([2]),
        image_index=torch.tensor([1]),
        crowd=torch.tensor([False]),
        class_map=torch.zeros(2, 8, 8, dtype=torch.uint8),
    )
    batch.class_map[1, 3:5, 3:5] = 3
    teacher_outputs = background_outputs(SPEC, 2)
    assert teacher_outputs.logits is not None
    assert teacher_outputs.offsets is not None
    assert teacher_outputs.segmentation_logits is not None
    teacher_outputs.logits[..., 1] = 12.0
    teacher_outputs.segmentation_logits[:, 1] = 12.0
    wrong, right = 0, len(anchors) - 1
    teacher_outputs.offsets[:, wrong] = encode(box, anchors[[wrong]], SPEC.anchors.variances)[0]
    teacher_outputs.offsets[:, right] = encode(
        torch.tensor([[0.0, 0.0, 0.2, 0.2]]), anchors[[right]], SPEC.anchors.variances
    )[0]
    targets, matched = targets_from(teacher_outputs, SPEC, batch)
    assert targets.anchors is not None
    assert targets.cells is not None
    positives = matched.positives - len(anchors)
    assert len(positives)
    assert not targets.anchors.has_target[1, positives].any()
    confident = targets.anchors.is_confident()
    assert confident[0].all(), "the other image has no square"
    assert not confident[1, [wrong, *positives.tolist()]].any()
    assert confident[1, right]
    assert targets.cells.has_target[0].all()
    assert (~targets.cells.has_target[1]).nonzero().tolist() == [[y, x] for y in (3, 4) for x in (3, 4)]


def test_annotated_old_classes_follow_the_labels_alone() -> None:
    batch = batch_of(SPEC, 1)
    batch.box_classes[0, 0] = batch.mask_classes[0, 0] = True
    teacher_outputs = background_outputs(SPEC, 1)
    assert teacher_outputs.logits is not None
    assert teacher_outputs.segmentation_logits is not None
    teacher_outputs.logits[0, 7, 1], teacher_outputs.segmentation_logits[0, 1, 2, 3] = 12.0, 12.0
    teacher_outputs.logits[0, 9, 2] = 12.0
    targets, _ = targets_from(teacher_outputs, SPEC, batch)
    assert targets.anchors is not None
    assert targets.cells is not None
    assert targets.anchors.is_confident().nonzero().tolist() == [[0, 9]]
    assert targets.cells.probability[..., 0].max() == 0
    changed = [torch.zeros(1, len(anchors_of(SPEC)), 4), torch.zeros(1, len(anchors_of(SPEC)), 4)]
    changed[1][..., 1] = 3.0  # cross against background is a matter of labels
    values = [targets.anchors.class_loss(logits).item() for logits in changed]
    by_hand = torch.log(torch.tensor([4.0, 3 + torch.tensor(3.0).exp()]))
    assert values[1] - values[0] != pytest.approx(0), "ell is still a target"
    only_ell = (by_hand - torch.log(torch.tensor([3.0, 2 + torch.tensor(3.0).exp()])))[0]
    assert values[0] > only_ell


def test_boxes_without_masks_leave_their_pixels_open() -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    boxes = torch.tensor([[0.0, 0.0, 0.25, 0.5], [0.5, 0.5, 1.0, 1.0]])
    batch = batch_of(
        SPEC,
        1,
        boxes=boxes,
        labels=torch.tensor([2, 0]),  # a square, and a cross that the teacher knows
        image_index=torch.tensor([0, 0]),
        crowd=torch.tensor([False, False]),
        class_map=torch.full((1, 8, 8), 255, dtype=torch.uint8),
        mask_classes=none,
    )
    targets, _ = targets_from(background_outputs(SPEC, 1), SPEC, batch)
    assert targets.cells is not None
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, :2] = True
    assert torch.equal(~targets.cells.has_target[0], expected)


def test_mean_over_parts_is_the_loss_of_the_batch(tmp_path: Path) -> None:
    net, old = save_initial(tmp_path / "old.safetensors")
    student, spec = grown(net, old, SPEC.classes)
    torch.nn.init.normal_(student.encoder.state_dict()["stem.0.weight"], std=0.3)
    teacher, anchors = KeepTeacher(net, OLD, spec), anchors_of(spec)
    entire = batch_of(spec, 4)
    rows = [slice(0, 3), slice(3, 4)]
    names = ("images", "class_map", "box_classes", "mask_classes")
    halves = [
        replace(entire, ids=entire.ids[row], **{name: getattr(entire, name)[row] for name in names}) for row in rows
    ]
    results, counts = [], Normalizers(0, 0)
    for batch in (entire, *halves):
        matched, images = match(anchors, batch), normalize(batch.images, spec)
        targets = teacher(images, batch, matched)
        shared = None if batch is entire else counts
        parts = 1 if batch is entire else 2
        result = losses(student(images), batch, matched, teacher_targets=targets, normalizers=shared, num_parts=parts)
        counts = result.normalizers if batch is entire else counts
        assert result.distillation is not None
        results.append(result.distillation.item())
    assert results[0] > 0.01
    assert sum(results[1:]) / 2 == pytest.approx(results[0], rel=1e-4)


def test_classes_and_weights_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    net, old = save_initial(path, classes=("tvmonitor", "cat"))
    config = TrainConfig(model=str(path), init="model", keep=True, data=(f"voc:{tmp_path}/own@train",), steps=9)
    grown_net, spec = make_network(config, ("tv", "zebra"))
    assert spec.classes == ("tvmonitor", "cat", "zebra")
    teacher = make_teacher(spec, config, torch.device("cpu"))
    assert isinstance(teacher, KeepTeacher)
    assert teacher.classes == old.classes
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not torch.equal(grown_net.encoder.state_dict()["stem.0.weight"], torch.zeros(1))
    expected = "trained on voc:own@train in a run of 9 steps, distilled from the initial model to keep its classes"
    assert provenance(spec, config) == expected
    assert make_teacher(spec, replace(config, keep=False), torch.device("cpu")) is None
    with pytest.raises(ModelError, match=r"expected the classes of the initial model first \(tvmonitor, cat\), got z"):
        KeepTeacher(net, old.classes, replace(spec, classes=("zebra", "cat")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "encoder"}, "--keep: expected --init model, a model with classes to keep, got --init encoder"),
        (
            {"anchor_scales": (0.1, 0.2, 0.9)},
            "--keep: expected the anchors of --model, got --anchor-scales; remove one",
        ),
        ({"distillation": 1.0}, "--keep, --distillation: expected one teacher, got both; remove one"),
        ({"keep_weight": 0.0}, "--keep-weight: expected a number above 0, got 0.0"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**{"init": "model", "keep": True, **changes})
    assert str(caught.value) == message


@pytest.mark.slow
def test_old_class_stays_and_the_new_one_is_learned(tmp_path: Path) -> None:
    """Red first, then green, on images with both of which only green has labels."""
    path = tmp_path / "red.safetensors"
    base = TrainConfig(init="model", model=str(path), batch=8, lr=4e-3, warmup=5, threads=1, device="cpu", steps=100)
    torch.manual_seed(0)
    spec = replace(PAPER, classes=("red",))
    before = fit(build(spec), spec, colored_batches(spec, ("red",), 1), replace(base, steps=300))
    save_model(path, before, spec)
    expected = mean_probability(before, spec, "red")
    assert min(expected) > 0.3
    scores = {}
    for keep, names in ((True, ("green",)), (False, ("red", "green"))):
        config = replace(base, keep=keep)
        net, spec = make_network(config, names)
        net = fit(net, spec, colored_batches(spec, ("green",), 2), config)
        scores[keep] = mean_probability(net, spec, "red"), mean_probability(net, spec, "green")
    (old_scores, new_scores), (forgotten, plain_scores) = scores[True], scores[False]
    assert old_scores == pytest.approx(expected, rel=0.15)
    assert forgotten[0] < 0.8 * expected[0], "boxes are forgotten without --keep"
    assert min(new_scores) > 0.15
    assert new_scores[0] > 0.6 * plain_scores[0]


@pytest.mark.parametrize(
    ("kind", "tasks"),
    [
        ("boxes", ("detection", "segmentation")),
        ("masks", ("detection", "segmentation")),
        ("both", ("detection",)),
        ("both", ("segmentation",)),
    ],
)
def test_any_annotations_and_tasks_train_and_resume_bit_for_bit(
    tmp_path: Path, kind: str, tasks: tuple[Any, ...]
) -> None:
    save_initial(tmp_path / "old.safetensors", replace(PAPER, tasks=tasks), classes=("cross", "cat"))
    drawings = synthetic_data.draw(6)
    data = {
        "boxes": lambda: synthetic_data.write_coco(tmp_path / "own", drawings, outlines=False),
        "masks": lambda: synthetic_data.write_folder(tmp_path / "own", drawings),
        "both": lambda: synthetic_data.write_voc(tmp_path / "own", drawings),
    }[kind]()
    # cross is a class of the model and of the data, cat only of the model
    changes = {"model": str(tmp_path / "old.safetensors"), "init": "model", "keep": True, "steps": 4, "save_every": 2}
    whole = tiny_config((data,), tmp_path / "whole", **changes)
    path = train(whole)
    spec = load_model(path)[1]
    assert (spec.tasks, {*spec.classes[2:]}) == (tasks, {"ell", "square"})
    if kind != "both":  # the heads keep what the model knows, and learn what the data annotates
        assert spec.detection_classes == (None if kind == "boxes" else ("cross", "cat"))
        assert spec.segmentation_classes == (None if kind == "masks" else ("cross", "cat"))
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=3)
    train(cut)
    for name in ("state.safetensors", "last.safetensors"):
        assert_equal(whole.out / name, cut.out / name)
    with pytest.raises(UsageError, match="--keep false, was true"):
        train(replace(cut, keep=False))
