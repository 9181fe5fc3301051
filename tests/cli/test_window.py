"""The window of `--show`, on a display without a screen."""

import subprocess
from collections.abc import Iterator
from shutil import which

import numpy as np
import pytest
from PIL import ImageGrab

from blitznet.cli.window import Window, display

pytest.importorskip("tkinter", reason="this Python has no Tk")


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A display's name; it writes down its number when it takes windows."""
    program = which("Xvfb")
    if program is None:
        pytest.skip("there is no Xvfb; `apt-get install xvfb` brings it")
    command = [program, "-displayfd", "1", "-screen", "0", "400x300x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@pytest.fixture(autouse=True)
def on_it(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", screen)


def seen(screen: str) -> set[tuple[int, ...]]:
    """The colours that fill more than a tenth of the screen."""
    pixels = np.asarray(ImageGrab.grab(xdisplay=screen).convert("RGB")).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(int(value) for value in colour) for colour in colours[counts > 0.1 * len(pixels)]}


def test_each_picture_is_shown_in_the_place_of_the_last(screen: str) -> None:
    assert display()
    window = Window("blitznet")
    try:
        for colour in ((200, 30, 90), (20, 180, 60)):
            window.show(np.full((220, 300, 3), colour, np.uint8))
            assert colour in seen(screen)
        assert (200, 30, 90) not in seen(screen)
        assert window.open
    finally:
        window.close()


@pytest.mark.parametrize("key", ["<q>", "<Escape>"])
def test_a_key_ends_it(key: str) -> None:
    window = Window("blitznet")
    try:
        window.show(np.zeros((60, 80, 3), np.uint8))
        window._root.focus_force()
        window._root.update()
        window._root.event_generate(key)
        window._root.update()
        assert not window.open
        window.show(np.zeros((60, 80, 3), np.uint8))  # and nothing is shown any more
    finally:
        window.close()
