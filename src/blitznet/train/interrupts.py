"""Ctrl-C and SIGTERM: the run completes its step and saves its state before it stops."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from blitznet.core.interrupts import on_interrupt


class TrainingInterrupted(KeyboardInterrupt):
    """The run was interrupted and saved its state; the message states how to resume it."""


class InterruptHandler:
    """While open, the first Ctrl-C, SIGTERM or SIGHUP sets `requested`; one over a second later stops at once.

    To stop at once is to raise KeyboardInterrupt. Only the main thread receives signals; in other threads nothing
    changes.
    """

    def __init__(self) -> None:
        self.requested = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(on_interrupt(self._request))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _request(self, is_repeated: bool) -> None:
        if is_repeated:
            raise KeyboardInterrupt
        self.requested = True
