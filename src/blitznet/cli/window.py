"""The window of `blitznet video --show`, by Tk, which comes with Python."""

from typing import TYPE_CHECKING

from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from blitznet.core.arrays import RGBArray


class Window:
    """Shows one image at a time, until the user closes it or presses q or Escape."""

    def __init__(self, title: str) -> None:
        """Open a window with this title. Raises UsageError without Tk or a display."""
        try:
            import tkinter

            self._root = tkinter.Tk()
        except Exception as error:  # the type of the exception without Tk or a display depends on the platform
            raise UsageError(f"--show: cannot open a window ({error}); remove the flag") from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self.open = True
        """False once the user has closed the window or pressed q or Escape"""
        self._root.protocol("WM_DELETE_WINDOW", self._on_close)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _: self._on_close())

    def show(self, image: "RGBArray") -> None:
        """Show an image (H, W, 3) uint8 RGB in place of the last one; does nothing once `open` is False."""
        from PIL import Image as Pillow
        from PIL import ImageTk

        if self.open:
            tk_image = ImageTk.PhotoImage(Pillow.fromarray(image), master=self._root)
            self._label.configure(image=tk_image)
            self._tk_image = tk_image  # keeps the image alive: Tk holds no reference
            self._root.update()

    def close(self) -> None:
        """Destroy the window, whether or not the user has closed it."""
        self._root.destroy()

    def _on_close(self) -> None:
        """Only set the flag; `close` destroys the window."""
        self.open = False
