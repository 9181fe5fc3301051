"""Take screenshots of the web page of `blitznet serve`, in a light and a dark version.

`python tools/page_screenshots.py` writes docs/images/page-light.jpg and page-dark.jpg. It needs chromium and the
extra `dev`.
"""

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Literal

from PIL import Image
from playwright.sync_api import Playwright, sync_playwright

from blitznet.runtime.image_paths import find_images

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SAMPLE = "cat"
WINDOW = (1060, 540)
"""width and height, pixels"""
QUALITY = 88
TIMEOUT_MS, SETTLE_MS = 30_000, 1_500
WARM_UP = 3
"""predictions before the one that is shown, since the page displays its time"""


def main() -> None:
    """Start a server, take both screenshots, and stop it."""
    words = [sys.executable, "-m", "blitznet", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            assert address is not None
            for scheme in ("light", "dark"):
                screenshot = take_screenshot(playwright, address.group(), scheme)
                screenshot.save(IMAGES / f"page-{scheme}.jpg", quality=QUALITY)
        finally:
            server.terminate()


def take_screenshot(playwright: Playwright, address: str, scheme: Literal["light", "dark"]) -> Image.Image:
    """The page with the predictions of the sample image."""
    width, height = WINDOW
    browser = playwright.chromium.launch(
        executable_path=which("chromium"), args=["--disable-gpu"], chromium_sandbox=False
    )
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    sample = next(path for path in find_images() if path.stem == SAMPLE)
    for _ in range(WARM_UP + 1):
        page.set_input_files("#file", sample)
        page.wait_for_selector("#table:not([hidden])", timeout=TIMEOUT_MS)
        page.wait_for_timeout(SETTLE_MS)
    image = Image.open(BytesIO(page.screenshot())).convert("RGB")
    browser.close()
    return image


if __name__ == "__main__":
    main()
