"""Jobs for processes that take turns: in a module of their own, so that those can import them."""

import os
import threading
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from time import sleep, time

from blitznet.core.errors import MissingExtra

Span = tuple[int, float, float]
"""process, begin and end of its work, seconds since the epoch"""
HARD = 300_000
"""rounds of a hash: some tenths of a second"""


def open_sleeper(seconds: float) -> Callable[[], Span]:
    def work() -> Span:
        begun = time()
        sleep(seconds)
        return os.getpid(), begun, time()

    return work


def open_counter(start: int) -> Callable[[], int]:
    state = [start]

    def work() -> int:
        state[0] += 1
        return state[0]

    return work


def open_spinner() -> Callable[[], Span]:
    """A thread computes on after its work is done, as engines' do; gives when that of the last turn ended."""
    ended = [0.0]

    def spin() -> None:
        pbkdf2_hmac("sha256", b"", b"", HARD)
        ended.append(time())

    def work() -> Span:
        span = os.getpid(), time(), ended[-1]
        threading.Thread(target=spin, daemon=True).start()
        return span

    return work


def open_nothing() -> Callable[[], None]:
    raise MissingExtra("this", "that")


def open_broken() -> Callable[[], None]:
    def work() -> None:
        raise ZeroDivisionError("no number")

    return work


def open_mortal() -> Callable[[], None]:
    def work() -> None:
        os._exit(3)

    return work
