"""Tasks for interleaved processes, which import this module."""

import os
import threading
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from time import sleep, time

from blitznet.core.errors import MissingExtra

Span = tuple[int, float, float]
"""process id, start and end of the work, seconds since the epoch"""
HASH_ROUNDS = 300_000
"""some tenths of a second"""


def open_sleeper(seconds: float) -> Callable[[], Span]:
    def work() -> Span:
        start = time()
        sleep(seconds)
        return os.getpid(), start, time()

    return work


def open_counter(start: int) -> Callable[[], int]:
    state = [start]

    def work() -> int:
        state[0] += 1
        return state[0]

    return work


def open_spinner() -> Callable[[], Span]:
    """A thread computes after the task returns, as engines' threads do; the span ends with that of the last turn."""
    ends = [0.0]

    def spin() -> None:
        pbkdf2_hmac("sha256", b"", b"", HASH_ROUNDS)
        ends.append(time())

    def work() -> Span:
        span = os.getpid(), time(), ends[-1]
        threading.Thread(target=spin, daemon=True).start()
        return span

    return work


def open_without_extra() -> Callable[[], None]:
    raise MissingExtra("this", "that")


def open_broken() -> Callable[[], None]:
    def work() -> None:
        raise ZeroDivisionError("no number")

    return work


def open_exiting() -> Callable[[], None]:
    def work() -> None:
        os._exit(3)

    return work
