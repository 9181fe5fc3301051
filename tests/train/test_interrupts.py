"""InterruptHandler: the first signal is recorded, the second raises, and the previous handlers are restored."""

import signal
import threading

import pytest

from blitznet.train.interrupts import InterruptHandler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_recorded_and_second_raises(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with InterruptHandler() as interrupts:
        requested = [interrupts.requested]
        signal.raise_signal(number)
        requested.append(interrupts.requested)
        assert requested == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert {each: signal.getsignal(each) for each in before} == before


def test_handler_in_another_thread_changes_nothing() -> None:
    states = []

    def inside() -> None:
        before = signal.getsignal(signal.SIGINT)
        with InterruptHandler() as interrupts:
            states.append((signal.getsignal(signal.SIGINT) is before, interrupts.requested))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert states == [(True, False)]
