"""Candidate graphs of the next light model, timed before any is trained, as multiples of SSDLite's time.

All candidates have SSDLite's encoder and extra layers, an upscale stream, and SSD heads. Weights are random, which does
not change the time. Networks are int8 and run interleaved, each in its own process.

`python -m benchmarks.speed.architectures --json architectures.json`
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from benchmarks._lib.results import Table, notify, print_results, require_images, write_json
from benchmarks.competitors.model_files import quantize_competitor
from benchmarks.competitors.networks import COMPETITORS, PEERS, CompetitorPredictor, Runtime, Session, Setup
from blitznet.bench.interleaved import BenchTask, run_interleaved
from blitznet.bench.timing import Latency, latency, timed
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import WEIGHTS
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.selection import evenly_spaced
from blitznet.export.onnx import OPSET, write_onnx
from blitznet.export.quantize import quantize_onnx
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2, depthwise
from blitznet.runtime.threads import available_threads

SPEC = get_spec(DEFAULT)
IMAGES = Path(__file__).parents[3] / "shared" / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages"
DETECTOR = COMPETITORS[0]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What distinguishes one graph from another."""

    name: str
    upscale_from: int = 4
    """index of the coarsest map of the upscale stream: 3 for stride 32, 4 for stride 64, 7 for all"""
    fusion: str = "concat"
    """concat: 1x1 convolution of both upsampled maps; sum: 1x1 convolutions before upsampling, then a sum"""
    shared_depthwise: bool = False
    """class logits and offsets of the downscale maps share their depthwise convolution"""
    merged_head: bool = True
    """one 1x1 convolution over the concatenation of both streams instead of two and a sum"""
    segmentation_stride: int | None = 4
    """None for boxes only"""


CANDIDATES = (
    Candidate("all levels upscaled", upscale_from=7),
    Candidate("upscaled from stride 64"),
    Candidate("two head convolutions", merged_head=False),
    Candidate("sum before upsampling", fusion="sum"),
    Candidate("shared depthwise", shared_depthwise=True),
    Candidate("sum, stride 8", fusion="sum", segmentation_stride=8),
    Candidate("sum, shared, stride 8", fusion="sum", shared_depthwise=True, segmentation_stride=8),
    Candidate("boxes only, shared", shared_depthwise=True, segmentation_stride=None),
)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    candidates: tuple[str, ...] = ()
    """Names of candidates. Default: all."""
    rounds: int = 10
    """Rounds, after one round of warm-up. Default: 10."""
    repeats: int = 20
    """Repetitions in a round. Default: 20."""
    threads: int = available_threads()
    """Threads. Default: one per core."""
    runtimes: tuple[Runtime, ...] = ("openvino", "onnxruntime")
    images: int = 16
    """Calibration images of int8. Default: 16."""
    json: Path | None = None


class Fusion(nn.Module):
    """A coarse map merged into a finer one."""

    def __init__(self, coarse_channels: int, fine_channels: int, kind: str) -> None:
        super().__init__()
        channels, hidden = SPEC.network.channels, SPEC.network.hidden_channels
        self.sums = kind == "sum"
        self.project = nn.Identity() if coarse_channels == channels and not self.sums else _linear(coarse_channels)
        self.lateral = _linear(fine_channels) if self.sums else LiteConv(coarse_channels + fine_channels, hidden)
        self.spatial = depthwise(channels if self.sums else hidden)
        self.out = LiteConv(channels, channels, activation=nn.ReLU) if self.sums else _linear(hidden)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The merged map (B, D, h, w) at the size of the fine one."""
        merged: Tensor
        if self.sums:
            merged = self.out(self.spatial((_resize(self.project(coarse), fine) + self.lateral(fine)).relu()))
        else:
            upsampled = _resize(coarse, fine)
            residual = self.out(self.spatial(self.lateral(torch.cat([upsampled, fine], 1))))
            merged = (self.project(upsampled) + residual).relu()
        return merged


class Head(nn.Module):
    """Class logits and offsets of one map, from the upscale stream, the downscale stream, or both."""

    def __init__(self, up_channels: int, down_channels: int, candidate: Candidate) -> None:
        super().__init__()
        outputs = SPEC.anchors.num_anchors_per_cell * (SPEC.num_channels + 4)
        copies = 1 if candidate.shared_depthwise else 2
        self.up = nn.ModuleList(depthwise(up_channels) for _ in range(1 if up_channels else 0))
        self.down = nn.ModuleList(depthwise(down_channels) for _ in range(copies if down_channels else 0))
        streams = [width for width in (up_channels, copies * down_channels) if width]
        inputs = [sum(streams)] if candidate.merged_head else streams
        self.out = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in inputs)

    def forward(self, up: Tensor | None, down: Tensor) -> Tensor:
        """(B, P * (C + 4), h, w)."""
        streams = [[layer(up) for layer in self.up], [layer(down) for layer in self.down]]
        features = [torch.cat(stream, 1) for stream in streams if stream]
        if len(self.out) == 1:
            features = [torch.cat(features, 1)]
        first, *rest = [layer(x) for layer, x in zip(self.out, features, strict=True)]
        logits: Tensor = first
        for more in rest:
            logits = logits + more
        return logits


class CandidateNetwork(nn.Module):
    """A candidate with random weights: images (B, h, w, 3) uint8 to one tensor per level and segmentation logits."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__()
        channels, hidden = SPEC.network.channels, SPEC.network.hidden_channels
        self.encoder = MobileNetV2()
        self.downscale = LiteDownscale(self.encoder, SPEC.network.extra_levels)
        widths = self.downscale.out_channels
        self.top, self.stride = candidate.upscale_from, candidate.segmentation_stride
        coarse = [widths[self.top], *(channels,) * (self.top - 2)]
        fine = [widths[level] for level in range(self.top - 1, 0, -1)]
        self.fusions = nn.ModuleList(Fusion(a, b, candidate.fusion) for a, b in zip(coarse, fine, strict=True))
        self.heads = nn.ModuleList(
            Head(channels if level < self.top else 0, width if level > 1 else 0, candidate)
            for level, width in enumerate(widths)
            if level
        )
        if self.stride is None:
            return
        self.laterals = nn.ModuleList(_linear(width) for width in (channels, channels, widths[2], widths[3]))
        self.context = nn.Sequential(depthwise(channels, 5), LiteConv(channels, hidden, activation=nn.Identity))
        self.fine_lateral = LiteConv(widths[0], hidden, activation=nn.Identity)
        self.classifier = nn.Sequential(depthwise(hidden), nn.Conv2d(hidden, SPEC.num_channels, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The raw outputs."""
        maps = self.downscale(self.encoder((images.float() / 127.5 - 1).permute(0, 3, 1, 2)))
        up: dict[int, Tensor] = {}
        x = maps[self.top]
        for fusion, level in zip(self.fusions, range(self.top - 1, 0, -1), strict=True):
            x = up[level] = fusion(x, maps[level])
        outputs = [head(up.get(level), maps[level]) for level, head in enumerate(self.heads, start=1)]
        if self.stride is None:
            return tuple(outputs)
        finest, coarser, stride16, stride32 = self.laterals
        context = coarser(up[2]) + stride16(maps[2]) + _resize(stride32(maps[3]), maps[2])
        x = self.context((finest(up[1]) + _resize(context, up[1])).relu())
        if self.stride == 4:
            x = _resize(x, maps[0]) + self.fine_lateral(maps[0])
        return (*outputs, self.classifier(x.relu()))


def main(options: Options) -> None:
    """Export, measure, print and write."""
    require_images(IMAGES)
    candidates = [item for item in CANDIDATES if not options.candidates or item.name in options.candidates]
    paths = sorted(IMAGES.glob("*.jpg"))
    images = [ImageSource(paths[index]).read() for index in evenly_spaced(len(paths), options.images)]
    rows = []
    with TemporaryDirectory() as folder:
        notify("exporting")
        files = {DETECTOR.title: quantize_competitor(DETECTOR, images, Path(folder, "detector.onnx"))}
        files[f"{DEFAULT} v1"] = with_fixed_batch(WEIGHTS / f"{DEFAULT}.onnx", Path(folder, "packaged.onnx"))
        for candidate in candidates:
            files[candidate.name] = export(candidate, images, Path(folder))
        for runtime in options.runtimes:
            notify(f"measuring {runtime}")
            factories = [partial(open_network, file, runtime, options, title) for title, file in files.items()]
            measured = [
                latency([value for times_of_round in times for value in times_of_round])
                for times in run_interleaved(factories, options.rounds)
            ]
            rows += [row(runtime, title, value, measured[0]) for title, value in zip(files, measured, strict=True)]
    table = Table(
        f"int8 networks, {options.threads} threads", ("runtime", "network", "median, ms", "times SSDLite"), rows
    )
    print_results([table])
    write_json(options.json, options, tables=[table])


def with_fixed_batch(file: Path, out: Path) -> Path:
    """A copy for one image per batch, as the OpenVINO engine compiles it and as the candidates are."""
    import onnx

    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, out)
    return out


def row(runtime: str, title: str, value: Latency, reference: Latency) -> tuple[str, ...]:
    """A row of the table."""
    return runtime, title, f"{value.median:.2f}", f"{value.median / reference.median:.2f}"


def export(candidate: Candidate, images: Sequence[RGBArray], folder: Path) -> Path:
    """A candidate as an int8 file."""
    torch.manual_seed(0)
    net = CandidateNetwork(candidate).eval()
    source, target = folder / "float32.onnx", folder / f"{CANDIDATES.index(candidate)}.onnx"
    inputs = [np.asarray(ImageSource(image).resize(SPEC.size)) for image in images]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        net,
        (torch.from_numpy(inputs[0][None]),),
        input_names=["images"],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    write_onnx(program.model_proto, SPEC, source)
    quantize_onnx(source, target, inputs, SPEC)
    return target


def open_network(file: Path, runtime: Runtime, options: Options, title: str) -> BenchTask[list[float]]:
    """The task that runs a network several times, in milliseconds."""
    setup = Setup(runtime, "int8", options.threads)
    if title == DETECTOR.title:
        predictor = CompetitorPredictor(DETECTOR, Setup(runtime, "int8", options.threads, file), PEERS)
        predictor(np.zeros((*SPEC.size, 3), np.uint8))
        run = predictor.session.rerun
    else:
        session = Session(file, setup)
        session.run(None, {"images": np.zeros((1, *SPEC.size, 3), np.uint8)})
        run = session.rerun
    return lambda: [timed(run)[1] for _ in range(options.repeats)]


def _linear(in_channels: int) -> LiteConv:
    return LiteConv(in_channels, SPEC.network.channels, activation=nn.Identity)


def _resize(x: Tensor, target: Tensor) -> Tensor:
    return F.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=False)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
