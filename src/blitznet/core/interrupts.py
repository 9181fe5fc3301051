"""Signals that ask a program to stop: Ctrl-C, SIGTERM and the end of its terminal all mean the same."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""signals that ask for a stop"""
REPEAT_SECONDS = 1.0
"""signals within this time after the first are the same request: `timeout` sends each signal twice"""


@contextmanager
def on_interrupt(act: Callable[[bool], None]) -> Iterator[None]:
    """Call `act(is_repeated)` for each request to stop in the block, instead of ending the process.

    Signals that the process ignores, as under `nohup`, stay ignored. Only the main thread receives signals; in other
    threads nothing changes.

    Args:
        act: Called with False for the first request, and with True for each that comes over a second later.
    """
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        now = time.monotonic()
        if not first:
            first.append(now)
            act(False)
        elif now - first[0] > REPEAT_SECONDS:
            act(True)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in INTERRUPTS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Deliver requests to stop after the block, and to no process that starts in it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
