"""A headless browser: the system's chromium, driven by playwright."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import which

import pytest
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
"""flags of every browser; the camera is a test pattern"""
NO_GPU = ("--disable-gpu",)
SOFTWARE_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
    "--enable-features=Vulkan",
)
"""WebGPU on a software adapter, slow"""
WIDE, PHONE = (1280, 900), (390, 844)
"""width and height of the window"""


@contextmanager
def browser_page(size: tuple[int, int] = WIDE, *, dark: bool = False, gpu: Sequence[str] = NO_GPU) -> Iterator[Page]:
    """A new page; skips the test without chromium. Errors that the page logs fail the test at the end."""
    program = which("chromium")
    if program is None:
        pytest.skip("needs chromium: `apt-get install chromium`")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *gpu], chromium_sandbox=False)
        page = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: errors.append(f"cannot load {request.url}"))
        yield page
        browser.close()
    assert errors == []
