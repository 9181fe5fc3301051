"""InterruptHandler: the first signal is recorded, the second raises, and the previous handlers are restored."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import blitznet.core.interrupts as interrupts_module
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from blitznet.train.interrupts import InterruptHandler
from support.small_networks import small_spec
from support.training_runs import toy_sets


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_is_recorded_and_second_raises(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts_module, "REPEAT_SECONDS", 0.0)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with InterruptHandler() as interrupts:
        requested = [interrupts.requested]
        signal.raise_signal(number)
        requested.append(interrupts.requested)
        assert requested == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_signal_that_is_sent_twice_is_one_request() -> None:
    """`timeout` signals its child, and then the whole group, which includes the child."""
    with InterruptHandler() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.requested


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with InterruptHandler() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.requested
    finally:
        signal.signal(signal.SIGHUP, before)


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


@pytest.mark.slow
def test_sigterm_to_the_whole_group_saves_the_run(tmp_path: Path) -> None:
    """As `timeout`, systemd and job schedulers stop a run: workers receive the signal too, the command twice."""
    save_model(tmp_path / "small.safetensors", build(small_spec()), small_spec())
    words = ["--data", toy_sets(tmp_path)[0], "--model", str(tmp_path / "small.safetensors"), "--steps", "100000"]
    words += ["--batch", "2", "--threads", "1", "--workers", "2", "--save-every", "90000", "--log-every", "1"]
    command = [sys.executable, "-m", "blitznet", "train", *words, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "log.jsonl").exists() or not (tmp_path / "run" / "log.jsonl").stat().st_size:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("blitznet: stopped after step ")
    assert (tmp_path / "run" / "state.safetensors").is_file()
