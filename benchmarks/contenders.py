"""What takes turns in `peers.py`: our networks, a user's, and a user's two, each in a process of its own.

A turn is one round over all photos. Of each photo the whole way is timed, from its array to boxes, class map or
both, and then the network alone on what it was just fed; then all photos again, on every thread one. Knows no torch,
so that no process of a turn has it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from blitznet.core.arrays import Image
from blitznet.core.contract import KEY
from blitznet.core.photo import Photo
from blitznet.core.spec import Precision, Spec
from blitznet.runtime.timing import peak_memory, time_stream, timed
from blitznet.runtime.turns import Job
from rivals import HOME, SEGMENTER, Peer, Rival, Runtime, Setup

Kind = Literal["ours", "detector", "segmenter", "pair"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds of each photo, and the most bytes the process ever held."""

    network: list[float]
    whole: list[float]
    streamed: float
    """a photo, the whole way, of many at once: on every thread one"""
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


def ours(file: Path, runtime: Runtime, spec: Spec, photos: Sequence[Path], threads: int) -> Contender:
    """Our network in this file."""
    job = partial(_open_ours, file, runtime, tuple(photos), threads)
    return Contender(spec.name, "ours", runtime, spec.precision, job)


def theirs(parts: Sequence[tuple[Peer, Setup]], photos: Sequence[Path], home: Path = HOME) -> Contender:
    """A peer, or several one after the other."""
    peers, setups = zip(*parts, strict=True)
    kind: Kind = "pair" if len(parts) > 1 else "segmenter" if peers[0] is SEGMENTER else "detector"
    return Contender(
        title=" + ".join(peer.title for peer in peers),
        kind=kind,
        engine=_joined([setup.runtime for setup in setups]),
        precision=_joined([setup.precision for setup in setups]),
        job=partial(_open_theirs, tuple(parts), tuple(photos), home),
        parts=tuple(parts),
    )


def pinned(file: Path, precision: Precision, out: Path) -> Path:
    """A copy of one of our ONNX files that is meant to be computed in another precision."""
    import onnx

    model = onnx.load(file)
    for note in model.metadata_props:
        if note.key == KEY:
            note.value = replace(Spec.from_json(note.value), precision=precision).to_json()
    onnx.save(model, out)
    return out


def _joined(words: Sequence[str]) -> str:
    return " + ".join(words if len(set(words)) > 1 else words[:1])


def _open_ours(file: Path, runtime: Runtime, photos: Sequence[Path], threads: int) -> Callable[[], Turn]:
    from blitznet.api import load
    from blitznet.runtime.prepare import as_photo, prepare

    predictor = load(file, engine=runtime, threads=threads)

    def whole(image: Image) -> object:
        return predictor(image).class_map

    def alone(image: Image) -> Callable[[], object]:
        return partial(predictor.engine.run, prepare([as_photo(image)], predictor.spec))

    return partial(_turn, [Photo(path).read() for path in photos], whole, alone, partial(time_stream, predictor))


def _open_theirs(parts: Sequence[tuple[Peer, Setup]], photos: Sequence[Path], home: Path) -> Callable[[], Turn]:
    rivals = [Rival(peer, setup, home) for peer, setup in parts]
    threads = parts[0][1].threads
    singles = [(peer, replace(setup, threads=1)) for peer, setup in parts]
    lanes = [[Rival(peer, setup, home) for peer, setup in singles] for _ in range(threads)]

    def whole(image: Image) -> object:
        return [rival(image) for rival in rivals]

    def again() -> None:
        for rival in rivals:
            rival.session.again()

    return partial(_turn, [Photo(path).read() for path in photos], whole, lambda _: again, partial(_at_once, lanes))


def _at_once(lanes: Sequence[Sequence[Rival]], images: Sequence[Image]) -> float:
    """Milliseconds an image where every lane takes the next one as soon as it is done."""
    free: SimpleQueue[Sequence[Rival]] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def see(image: Image) -> None:
        lane = free.get()
        for rival in lane:
            rival(image)
        free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return timed(lambda: list(pool.map(see, images)))[1] / len(images)


def _turn(
    images: Sequence[Image],
    whole: Callable[[Image], object],
    alone: Callable[[Image], Callable[[], object]],
    many: Callable[[Sequence[Image]], float],
) -> Turn:
    turn = Turn([], [], 0, 0)
    for image in images:
        turn.whole.append(timed(partial(whole, image))[1])
        turn.network.append(timed(alone(image))[1])
    return replace(turn, streamed=many(images), memory=peak_memory())
