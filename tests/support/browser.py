"""A real browser, without a screen: Debian's chromium, driven by playwright."""

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
"""the camera, if a page asks for it, shows a clock"""
NO_CARD = ("--disable-gpu",)
PLAYED_CARD = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
    "--enable-features=Vulkan",
)
"""a graphics card that the processor plays: WebGPU, slowly"""
WIDE, PHONE = (1280, 900), (390, 844)
"""width and height of the window"""


@contextmanager
def browser_page(size: tuple[int, int] = WIDE, *, dark: bool = False, card: Sequence[str] = NO_CARD) -> Iterator[Page]:
    """An empty page; skips the test where there is no chromium. What the page complains of is an error at the end."""
    program = which("chromium")
    if program is None:
        pytest.skip("there is no chromium; `apt-get install chromium` brings it")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *card], chromium_sandbox=False)
        page = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: complaints.append(f"cannot load {request.url}"))
        yield page
        browser.close()
    assert complaints == []
