import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from blitznet.api import load
from blitznet.runtime.image_paths import SAMPLES
from blitznet.runtime.predictor import BasePredictor
from support.browser import PHONE, WIDE, browser_page
from support.servers import run_server

CAT = SAMPLES / "cat.jpg"
ASTRONAUT = SAMPLES / "astronaut.jpg"
"""an image with more detections from 0.05 on than from 0.5 on"""

_PIXELS = """(() => {
  const canvas = document.getElementById('canvas');
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
})()"""
_DELAYED_CAMERAS = """
  const media = navigator.mediaDevices, getUserMedia = media.getUserMedia.bind(media);
  window.streams = [];
  window.gate = new Promise((resolve) => { window.openGate = resolve; });
  media.getUserMedia = async (constraints) => {
    await gate;
    const stream = await getUserMedia(constraints);
    streams.push(stream);
    return stream;
  };
"""
"""delays cameras until openGate(), and keeps their streams"""
_LIVE_STREAMS = "streams.filter((stream) => stream.getTracks().some((track) => track.readyState === 'live')).length"
_PREDICT_AFTER_CLOSE = """(async () => {
  const stream = (await import('./engine.js')).openStream({ minScore: 2 }), messages = [];
  for (let i = 0; i < 2; i++) {
    const timeout = new Promise((resolve) => setTimeout(resolve, 5000, 'timeout'));
    messages.push(await Promise.race([stream.predict('text').catch(({ message }) => message), timeout]));
  }
  return messages;
})()"""
"""the server refuses the options, which closes the stream"""


_FAKE_RESPONSES = """
  const originalFetch = window.fetch;
  window.fetch = (url, options) =>
    String(url).includes('v1/predict') && window.fakeResponse ? window.fakeResponse() : originalFetch(url, options);
"""
"""lets a test set the response to predictions"""
_COUNT_LAYERS = """
  window.layerCount = 0;
  const put = OffscreenCanvasRenderingContext2D.prototype.putImageData;
  OffscreenCanvasRenderingContext2D.prototype.putImageData = function (...values) {
    window.layerCount++;
    return put.apply(this, values);
  };
"""
_FAKE_STREAM = """
  window.sockets = [];
  window.WebSocket = class {
    static OPEN = 1;
    readyState = 1;
    constructor(url) { sockets.push(String(url)); setTimeout(() => this.onopen?.(), 0); }
    send() {
      window.sent = (window.sent ?? 0) + 1;
      const busy = JSON.stringify({ error: 'the queue is full', status: 429 });
      const empty = { width: 640, height: 480, class_names: ['cat'], detections: [] };
      setTimeout(() => this.onmessage({ data: window.sent < 3 ? busy : JSON.stringify(empty) }), 0);
    }
    close() { this.readyState = 3; this.onclose?.(); }
  };
"""
"""a WebSocket that is busy twice, and then finds nothing"""


@pytest.fixture(scope="module")
def predictor() -> BasePredictor:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def address(predictor: BasePredictor) -> Iterator[str]:
    """The address of a server with the default model."""
    with run_server(predictor) as (_, port):
        yield f"http://127.0.0.1:{port}"


def open_image(page: Page, address: str, image: Path = CAT) -> None:
    page.goto(address)
    # The page's security policy forbids repeated evaluation of a string; playwright evaluates a function once.
    page.wait_for_function("() => document.getElementById('model').textContent.includes('20 classes')")
    page.set_input_files("#file", image)
    wait_for_status(page, " ms, ")


def wait_for_status(page: Page, text: str) -> None:
    page.wait_for_function("text => document.getElementById('status').textContent.includes(text)", arg=text)


def canvas_url(page: Page) -> str:
    """The canvas as a data URL, to compare."""
    return str(page.evaluate("document.getElementById('canvas').toDataURL()"))


def table_rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#table tbody tr").all()]


def test_an_image_is_predicted_and_drawn(address: str, predictor: BasePredictor) -> None:
    expected = predictor(CAT, min_score=0.5)
    with browser_page() as page:
        open_image(page, address)
        assert [row[:2] for row in table_rows(page)] == [
            [expected.class_names[label], f"{score:.2f}"]
            for label, score in zip(expected.labels, expected.scores, strict=True)
        ]
        size = page.evaluate("[document.getElementById('canvas').height, document.getElementById('canvas').width]")
        assert tuple(size) == expected.size
        complete = canvas_url(page)
        for name in ("#boxes", "#class-map"):
            page.uncheck(name)
            assert canvas_url(page) != complete
            page.check(name)
        assert canvas_url(page) == complete


def test_the_overlay_covers_the_class_map(address: str, predictor: BasePredictor) -> None:
    expected = predictor(CAT)
    assert expected.class_map is not None
    with browser_page() as page:
        open_image(page, address)
        page.uncheck("#boxes")
        overlay = np.array(page.evaluate(_PIXELS), np.uint8).reshape(*expected.size, 4)
        page.uncheck("#class-map")
        plain = np.array(page.evaluate(_PIXELS), np.uint8).reshape(*expected.size, 4)
    np.testing.assert_array_equal((overlay != plain).any(-1), expected.class_map > 0)


def test_sliders_classes_and_instances(address: str) -> None:
    with browser_page() as page:
        open_image(page, address, ASTRONAUT)
        before, rows = canvas_url(page), table_rows(page)
        page.locator("#min-score").fill("0.05")
        assert len(table_rows(page)) > len(rows)
        page.locator("#min-score").fill("0.5")
        assert canvas_url(page) == before
        page.locator("#opacity").fill("0")
        assert page.inner_text("#opacity-value") == "0 %"
        assert canvas_url(page) != before
        page.locator("#opacity").fill("0.45")
        page.locator("#classes label", has_text="person").locator("input").uncheck()
        assert all(row[0] != "person" for row in table_rows(page))
        page.locator("#classes label", has_text="person").locator("input").check()
        assert canvas_url(page) == before
        page.check("#instances")
        page.wait_for_function("before => document.getElementById('canvas').toDataURL() !== before", arg=before)
        wait_for_status(page, " ms, ")


def test_download_and_copy(address: str, tmp_path: Path) -> None:
    with browser_page() as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        open_image(page, address)
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "download.png")
        with Image.open(tmp_path / "download.png") as saved, Image.open(CAT) as original:
            assert saved.size == original.size
        page.click("#copy")
        wait_for_status(page, "clipboard")
        copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
        assert [detection["class_name"] for detection in copied["detections"]] == [row[0] for row in table_rows(page)]


def test_keyboard_shortcuts(address: str) -> None:
    with browser_page() as page:
        page.on("filechooser", lambda _: None)  # subscribe early: a busy browser may report the dialog late
        open_image(page, address)
        page.keyboard.press("i")
        assert page.is_checked("#instances")
        with page.expect_file_chooser():
            page.keyboard.press("o")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('input, button, canvas')")


def test_a_file_that_is_no_image_is_an_error(address: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not an image")
    with browser_page() as page:
        page.goto(address)
        page.set_input_files("#file", tmp_path / "note.txt")
        wait_for_status(page, "note.txt: expected an image that this browser can decode")


def test_camera(address: str) -> None:
    with browser_page() as page:
        page.goto(address)
        page.click("#camera")
        wait_for_status(page, "frames per second")
        assert page.get_attribute("#camera", "aria-pressed") == "true"
        assert page.evaluate("document.getElementById('canvas').width") > 100
        page.click("#camera")
        assert page.get_attribute("#camera", "aria-pressed") == "false"


def test_two_clicks_open_one_camera(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_DELAYED_CAMERAS)
        page.goto(address)
        page.click("#camera")
        page.click("#camera")
        page.evaluate("openGate()")
        wait_for_status(page, "frames per second")
        assert (page.evaluate("streams.length"), page.evaluate(_LIVE_STREAMS)) == (2, 1)
        page.click("#camera")
        assert page.evaluate(_LIVE_STREAMS) == 0


def test_a_file_replaces_a_camera_that_is_starting(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_DELAYED_CAMERAS)
        page.goto(address)
        page.click("#camera")
        page.set_input_files("#file", CAT)
        wait_for_status(page, " ms, ")
        page.evaluate("openGate()")
        page.wait_for_function(f"() => streams.length === 1 && {_LIVE_STREAMS} === 0", timeout=10_000)
        assert page.get_attribute("#camera", "aria-pressed") == "false"


def test_a_closed_stream_rejects(address: str) -> None:
    with browser_page() as page:
        page.goto(address)
        messages = page.evaluate(_PREDICT_AFTER_CLOSE)
    assert messages == ["the server closed the connection"] * 2


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_layout_fits_the_screen(size: tuple[int, int], dark: bool, address: str, tmp_path: Path) -> None:
    with browser_page(size, dark=dark) as page:
        open_image(page, address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        assert box["width"] > 0.4 * size[0] or box["height"] > 0.4 * size[1]
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        with Image.open(tmp_path / "page.png") as screenshot:
            corner = np.asarray(screenshot.convert("L"))[-3, 3]
        assert bool(corner < 60) is dark


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("new Response('<html>', { status: 413 })", "too large for this server: at most 20 MB"),
        ("new Response('<html>', { status: 502 })", "The server does not answer. Try again later."),
        ("new Response('<html>', { status: 504 })", "The server does not answer. Try again later."),
        ("new Response('<html>', { status: 200 })", "The server answered with status 200."),
        ('new Response(\'{"error": "the queue is full"}\', { status: 429 })', "The server is busy."),
        ('new Response(\'{"error": "not an image"}\', { status: 415 })', "not an image"),
        ("Promise.reject(new TypeError('Failed to fetch'))", "Cannot reach the server. Is it running?"),
    ],
)
def test_errors_of_servers_and_proxies_are_readable(response: str, text: str, address: str) -> None:
    with browser_page((375, 667)) as page:
        page.add_init_script(_FAKE_RESPONSES)
        open_image(page, address)
        page.evaluate(f"() => {{ window.fakeResponse = async () => {response}; }}")
        page.set_input_files("#file", ASTRONAUT)
        wait_for_status(page, text)
        box = page.locator("#status").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 667 - box["height"]
        assert table_rows(page) == []
        assert page.is_disabled("#copy")


def test_sliders_draw_the_class_map_from_a_cache(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_COUNT_LAYERS)
        open_image(page, address)
        count = page.evaluate("layerCount")
        assert count > 0
        for score in ("0.3", "0.6"):
            page.locator("#min-score").fill(score)
        page.locator("#opacity").fill("0.2")
        assert page.evaluate("layerCount") == count


def test_the_count_follows_the_controls(address: str) -> None:
    with browser_page() as page:
        open_image(page, address, ASTRONAUT)
        page.locator("#min-score").fill("0.95")
        wait_for_status(page, f"{len(table_rows(page))} object")
        page.locator("#min-score").fill("0.05")
        wait_for_status(page, f"{len(table_rows(page))} object")


def test_the_camera_continues_when_the_server_is_busy(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_FAKE_STREAM)
        page.goto(address)
        page.click("#camera")
        wait_for_status(page, "frames per second")
        page.check("#instances")
        page.locator("#min-score").fill("0.05")
        page.locator("#min-score").dispatch_event("change")
        page.wait_for_function(
            "() => sockets.at(-1).includes('min_score=0.05') && sockets.at(-1).includes('panoptic=1')"
        )
        assert page.get_attribute("#camera", "aria-pressed") == "true"
        page.click("#camera")
        wait_for_status(page, "The camera is off.")


def test_a_page_without_a_secure_context_names_the_reason(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(
            "for (const name of ['mediaDevices', 'clipboard'])"
            " Object.defineProperty(navigator, name, { value: undefined });"
        )
        open_image(page, address)
        page.click("#copy")
        wait_for_status(page, "Copying needs https, or this machine's own address")
        page.click("#camera")
        wait_for_status(page, "Cameras need https, or this machine's own address")
