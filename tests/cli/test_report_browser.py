"""The HTML report of `blitznet eval` in a real browser."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.cli.main import main
from support.browser import PHONE, WIDE, browser_page
from support.cli_datasets import write_model, write_voc

NO_WIDER = "() => document.documentElement.scrollWidth <= window.innerWidth"
LOADED = "() => [...document.images].every(image => image.complete && image.naturalWidth > 0)"
TARGETS = "() => [...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an untrained model."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model, data = write_model(), write_voc()
        words = ["eval", model, "--data", data, "--html-report", "page", "--bootstrap", "5", "--calibration"]
        assert main(words) == 0
    return folder / "page" / "index.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_page_fits_the_window_and_is_complete(report: Path, size: tuple[int, int], dark: bool) -> None:
    with browser_page(size, dark=dark) as page:
        page.goto(report.as_uri())
        assert page.title()
        assert page.evaluate(NO_WIDER)
        assert page.evaluate(LOADED)
        assert page.evaluate(TARGETS)
        assert page.locator("nav a").count() >= 5
        assert page.locator(".pair img").count() >= 2
        assert page.locator("svg").count() >= 2
        screenshot = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("L"))
    assert screenshot.shape[1] == size[0]
    assert screenshot.shape[0] > size[1]
    background = np.bincount(screenshot.ravel(), minlength=256).argmax()
    assert (background < 60) == dark
    assert (np.abs(screenshot.astype(int) - background) > 80).mean() > 0.01, "the page has no text"


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_core_finds_nothing_in_the_report(report: Path, size: tuple[int, int], dark: bool) -> None:
    pytest.importorskip("axe_playwright_python")
    from support.accessibility import find_violations

    with browser_page(size, dark=dark) as page:
        page.goto(report.as_uri())
        assert find_violations(page) == []


def test_keyboard_reaches_the_sections(report: Path) -> None:
    with browser_page() as page:
        page.goto(report.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.tagName") == "A"
        page.keyboard.press("Enter")
        assert page.url.endswith("#s0")
