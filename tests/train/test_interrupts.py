"""The first signal is noted, the second acts, and what was there before comes back."""

import signal
import threading

import pytest

from blitznet.train.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with Interrupts() as interrupts:
        asked = [interrupts.asked]
        signal.raise_signal(number)
        asked.append(interrupts.asked)
        assert asked == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert {each: signal.getsignal(each) for each in before} == before


def test_other_threads_change_nothing() -> None:
    seen = []

    def inside() -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT) is before, interrupts.asked))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(True, False)]
