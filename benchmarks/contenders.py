"""What takes turns in `peers.py`: our networks, a user's, and a user's two, each in a process of its own.

A turn is one round over all images. Of each image the whole way is timed, from its array to boxes, class map or
both, and then the network alone on what it was just fed; then all images again, on every thread one. Knows no torch,
so that no process of a turn has it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from blitznet.bench.interleaved import Job
from blitznet.bench.timing import peak_memory, time_stream, timed
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import METADATA_KEY, Precision, Spec
from rivals import HOME, SEGMENTER, Peer, Rival, Runtime, Setup

Kind = Literal["ours", "detector", "segmenter", "pair"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds of each image, and the most bytes the process ever held."""

    network: list[float]
    whole: list[float]
    streamed: float
    """a image, the whole way, of many at once: on every thread one"""
    memory: int


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One of those who take turns."""

    title: str
    kind: Kind
    engine: str
    precision: str
    job: Job[Turn]
    parts: tuple[tuple[Peer, Setup], ...] = ()
    """the peers it is made of"""


def ours(file: Path, runtime: Runtime, spec: Spec, images: Sequence[Path], threads: int) -> Contender:
    """Our network in this file."""
    job = partial(_open_ours, file, runtime, tuple(images), threads)
    return Contender(spec.name, "ours", runtime, spec.precision, job)


def theirs(parts: Sequence[tuple[Peer, Setup]], images: Sequence[Path], home: Path = HOME) -> Contender:
    """A peer, or several one after the other."""
    peers, setups = zip(*parts, strict=True)
    kind: Kind = "pair" if len(parts) > 1 else "segmenter" if peers[0] is SEGMENTER else "detector"
    return Contender(
        title=" + ".join(peer.title for peer in peers),
        kind=kind,
        engine=_joined([setup.runtime for setup in setups]),
        precision=_joined([setup.precision for setup in setups]),
        job=partial(_open_theirs, tuple(parts), tuple(images), home),
        parts=tuple(parts),
    )


def pinned(file: Path, precision: Precision, out: Path) -> Path:
    """A copy of one of our ONNX files that is meant to be computed in another precision."""
    import onnx

    model = onnx.load(file)
    for note in model.metadata_props:
        if note.key == METADATA_KEY:
            note.value = replace(Spec.from_json(note.value), precision=precision).to_json()
    onnx.save(model, out)
    return out


def _joined(words: Sequence[str]) -> str:
    return " + ".join(words if len(set(words)) > 1 else words[:1])


def _open_ours(file: Path, runtime: Runtime, images: Sequence[Path], threads: int) -> Callable[[], Turn]:
    from blitznet.api import load
    from blitznet.runtime.preprocess import as_image_source, preprocess_batch

    predictor = load(file, engine=runtime, threads=threads)

    def whole(image: RGBArray) -> object:
        return predictor(image).class_map

    def alone(image: RGBArray) -> Callable[[], object]:
        return partial(predictor.engine.run, preprocess_batch([as_image_source(image)], predictor.spec))

    return partial(_turn, [ImageSource(path).read() for path in images], whole, alone, partial(time_stream, predictor))


def _open_theirs(parts: Sequence[tuple[Peer, Setup]], images: Sequence[Path], home: Path) -> Callable[[], Turn]:
    rivals = [Rival(peer, setup, home) for peer, setup in parts]
    threads = parts[0][1].threads
    singles = [(peer, replace(setup, threads=1)) for peer, setup in parts]
    lanes = [[Rival(peer, setup, home) for peer, setup in singles] for _ in range(threads)]

    def whole(image: RGBArray) -> object:
        return [rival(image) for rival in rivals]

    def again() -> None:
        for rival in rivals:
            rival.session.again()

    return partial(
        _turn, [ImageSource(path).read() for path in images], whole, lambda _: again, partial(_at_once, lanes)
    )


def _at_once(lanes: Sequence[Sequence[Rival]], images: Sequence[RGBArray]) -> float:
    """Milliseconds an image where every lane takes the next one as soon as it is done."""
    free: SimpleQueue[Sequence[Rival]] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def see(image: RGBArray) -> None:
        lane = free.get()
        for rival in lane:
            rival(image)
        free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return timed(lambda: list(pool.map(see, images)))[1] / len(images)


def _turn(
    images: Sequence[RGBArray],
    whole: Callable[[RGBArray], object],
    alone: Callable[[RGBArray], Callable[[], object]],
    many: Callable[[Sequence[RGBArray]], float],
) -> Turn:
    turn = Turn([], [], 0, 0)
    for image in images:
        turn.whole.append(timed(partial(whole, image))[1])
        turn.network.append(timed(alone(image))[1])
    return replace(turn, streamed=many(images), memory=peak_memory())
