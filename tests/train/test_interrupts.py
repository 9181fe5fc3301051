"""The first signal is noted, the second acts, and what was there before comes back."""

import signal
import subprocess
import sys
import threading

import pytest

from blitznet.train.interrupts import Interrupts

CODE = """
import signal, sys
from blitznet.train.interrupts import Interrupts

number = signal.Signals(int(sys.argv[1]))
before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
with Interrupts() as interrupts:
    assert not interrupts.asked
    signal.raise_signal(number)
    assert interrupts.asked
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        print("acted")
assert {each: signal.getsignal(each) for each in before} == before
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    # in a process of its own: signals are a process's, and test runners have their own use for them
    done = subprocess.run([sys.executable, "-c", CODE, str(int(number))], capture_output=True, text=True, check=True)
    assert done.stdout == "acted\n"


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
