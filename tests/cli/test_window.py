"""The window of `--show`, on a virtual display."""

import subprocess
from collections.abc import Iterator
from shutil import which

import numpy as np
import pytest
from PIL import ImageGrab

from blitznet.cli.window import Window

pytest.importorskip("tkinter", reason="this Python has no Tk")


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """The name of a virtual display, which Xvfb prints once it accepts windows."""
    program = which("Xvfb")
    if program is None:
        pytest.skip("needs Xvfb: `apt-get install xvfb`")
    command = [program, "-displayfd", "1", "-screen", "0", "400x300x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@pytest.fixture(autouse=True)
def _use_display(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)


def main_colors(display: str) -> set[tuple[int, ...]]:
    """The colors that fill more than a tenth of the screen."""
    pixels = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(int(value) for value in color) for color in colors[counts > 0.1 * len(pixels)]}


def test_each_image_replaces_the_last(display: str) -> None:
    window = Window("blitznet")
    try:
        for color in ((200, 30, 90), (20, 180, 60)):
            window.show(np.full((220, 300, 3), color, np.uint8))
            assert color in main_colors(display)
        assert (200, 30, 90) not in main_colors(display)
        assert window.open
    finally:
        window.close()


@pytest.mark.parametrize("key", ["<q>", "<Escape>"])
def test_a_key_closes_the_window(key: str) -> None:
    window = Window("blitznet")
    try:
        window.show(np.zeros((60, 80, 3), np.uint8))
        window._root.focus_force()
        window._root.update()
        window._root.event_generate(key)
        window._root.update()
        assert not window.open
        window.show(np.zeros((60, 80, 3), np.uint8))  # has no effect
    finally:
        window.close()
