"""Deinterlacing, by FFmpeg's filter yadif: frames with two moments in alternate rows become frames of one moment."""

from collections import deque
from collections.abc import Iterator

from av.filter import Graph
from av.video.frame import VideoFrame

_OPTIONS = "mode=send_frame:deint=interlaced"
"""a frame for each frame; frames that are not interlaced stay as they are"""


class Deinterlacer:
    """Deinterlaces the frames of a stream. Until the first interlaced frame, frames pass without a copy."""

    def __init__(self) -> None:
        """Start a stream."""
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str] | None = None
        self._waiting: deque[VideoFrame] = deque()
        """frames that the filter has not returned yet: it reads the next frame first"""

    def filter(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Yield the frames that are finished, with the times and colors that they had."""
        layout = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and layout != self._layout:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph, self._layout = _build_graph(frame), layout
        self._waiting.append(frame)
        self._graph.push(frame)
        yield from self._finished()

    def flush(self) -> Iterator[VideoFrame]:
        """Yield the remaining frames; the next frame starts a stream."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._finished()
        yield from self._waiting
        self._waiting.clear()
        self._graph = None

    def _finished(self) -> Iterator[VideoFrame]:
        while self._waiting and self._graph is not None:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            if not isinstance(frame, VideoFrame):
                return
            original = self._waiting.popleft()
            frame.time_base, frame.pts = original.time_base, original.pts  # the filter counts in fields
            frame.duration = original.duration
            frame.colorspace, frame.color_range = original.colorspace, original.color_range
            yield frame


def _build_graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("yadif", _OPTIONS), graph.add("buffersink")).configure()
    return graph
