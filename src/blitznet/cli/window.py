"""A window that shows what is seen now, by Tk, which comes with Python; where there is no display, none."""

import os
import sys
from typing import TYPE_CHECKING

from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from blitznet.core.arrays import RGBArray


def display() -> bool:
    """Whether there is a screen to show something on."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """One picture after the other, until somebody closes it or presses q or Escape."""

    def __init__(self, title: str) -> None:
        """Raises UsageError where no window can be opened."""
        try:
            import tkinter

            self._root = tkinter.Tk()
        except Exception as error:  # no Tk in this Python, or no display: each says it in its own way
            raise UsageError(f"--show: no window can be opened here ({error}); leave it out") from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self.open = True
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _: self._end())

    def show(self, pixels: "RGBArray") -> None:
        """Show this picture (H, W, 3)."""
        from PIL import Image as Pillow
        from PIL import ImageTk

        if self.open:
            picture = ImageTk.PhotoImage(Pillow.fromarray(pixels), master=self._root)
            self._label.configure(image=picture)
            self._picture = picture  # Tk holds no reference
            self._root.update()

    def close(self) -> None:
        """Take it away."""
        self._root.destroy()

    def _end(self) -> None:
        self.open = False
