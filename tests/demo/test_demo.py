"""The page without a server: its arithmetic against Python's, and the whole of it in a browser."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route

from blitznet.api import load
from blitznet.core.boxes import iou
from blitznet.core.calibration import PlattScaling
from blitznet.core.image import ImageSource
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.decode import decode_detections
from blitznet.postprocess.result import Result
from blitznet.postprocess.upsample import upsample_argmax
from blitznet.runtime.image_paths import SAMPLES
from build import Isolated, build
from serve.test_response import unrolled
from support.browser import PLAYED_CARD, browser_page
from support.fake_engines import ANCHORS, SPEC, random_outputs

DEMO = Path(__file__).parents[2] / "demo"


@contextmanager
def given_away(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Isolated, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page that can import finish.js."""
    shutil.copy(DEMO / "finish.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    with given_away(tmp_path) as address, browser_page() as page:
        page.goto(address)
        yield page


def asked(page: Page, code: str, *values: Any) -> Any:
    """What an expression of finish.js' functions `f` and the arguments `v` is."""
    return page.evaluate(f"async (v) => {{ const f = await import('./finish.js'); return {code}; }}", list(values))


@pytest.mark.parametrize("size", [(90, 130), (64, 48), (20, 31), (300, 7)])
def test_resizing_is_pillows(size: tuple[int, int], page: Page) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    flat = np.dstack([pixels, np.full(size, 255, np.uint8)]).ravel().tolist()
    code = "[...f.resized({ data: v[0], width: v[1], height: v[2] }, v[3])]"
    found = np.array(asked(page, code, flat, size[1], size[0], SPEC.size)).reshape(*SPEC.size, 3)
    expected = ImageSource(pixels).resize(SPEC.size)
    assert np.abs(found - expected.astype(int)).max() <= 1
    assert (found != expected).mean() < (
        0.01 if max(size) < 5 * min(size) else 0.3
    )  # of a strip Pillow may go down first


@pytest.mark.parametrize("least", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_detections_are_those_of_numpy(seed: int, least: float, page: Page) -> None:
    outputs = random_outputs(seed=seed)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    spec = {
        "classes": SPEC.classes,
        "limits": {"score": 0.01, "candidates": 20, "iou": 0.45, "per_class": 6, "per_image": 11},
        "anchors": {"variances": SPEC.anchors.variances},
        "temperature": 0.7,
        "shift": -0.2,
    }
    limits = PostprocessConfig(
        score_threshold=max(0.01, least), topk_candidates=20, nms_threshold=0.45, max_per_class=6, max_detections=11
    )
    told = replace(SPEC, score_calibration=PlattScaling(0.7, -0.2))
    boxes, scores, labels = decode_detections(outputs.offsets[0], outputs.logits[0], ANCHORS, told, limits)
    code = "f.detections(v[0], v[1], new Float32Array(v[2]), v[3], { width: 60, height: 40 }, v[4])"
    flat = [array.ravel().tolist() for array in (outputs.offsets[0], outputs.logits[0], ANCHORS)]
    found = asked(page, code, *flat, spec, least)
    assert len(boxes)
    assert [one["label"] for one in found] == [SPEC.classes[label] for label in labels]
    np.testing.assert_allclose([one["score"] for one in found], scores, atol=1e-5)
    np.testing.assert_allclose([one["box"] for one in found], boxes * (60, 40, 60, 40), atol=1e-3)


@pytest.mark.parametrize("size", [(40, 60), (16, 12), (97, 33)])
def test_the_class_map_is_painted_as_in_numpy(size: tuple[int, int], page: Page) -> None:
    logits = np.random.default_rng(1).normal(0, 1, (5, 16, 12)).astype(np.float32)
    logits[:, 4:10, 3:9] += np.array([0, 0, 9, 0, 0], np.float32)[:, None, None]
    code = "f.classMap(v[0], 5, [16, 12], { width: v[1], height: v[2] })"
    runs = asked(page, code, logits.ravel().tolist(), size[1], size[0])
    found = unrolled(runs, size)
    assert (found == upsample_argmax(logits, size)).mean() > 0.999
    assert len(set(runs[::2])) > 3


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo, with what npm brings."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which brings onnxruntime-web")
    folder = tmp_path_factory.mktemp("site")
    try:
        build(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm cannot bring onnxruntime-web here ({error})")
    return folder


@pytest.mark.parametrize("name", ["cat", "photographer", "astronaut"])
def test_the_browser_answers_as_python(name: str, site: Path) -> None:
    with Image.open(SAMPLES / f"{name}.jpg") as image:
        image.convert("RGB").save(site / "image.png")
    expected = load(engine="onnxruntime")(site / "image.png", min_score=0.5)
    with given_away(site) as address, browser_page() as page:
        page.goto(address)
        page.wait_for_function("document.getElementById('about').textContent.includes('20 classes')", timeout=60_000)
        found = page.evaluate(_LOOK)
        page.set_input_files("#file", site / "image.png")
        page.wait_for_function("document.getElementById('status').textContent.includes(' ms, ')", timeout=60_000)
        assert page.locator("#table tbody tr").count() == len(found["detections"])
        assert page.is_hidden("#instances")
    require_alike(found, expected)


@pytest.mark.parametrize(
    ("asked", "engine"), [("?engine=webgpu", "WebGPU"), ("", "WebAssembly"), ("?engine=wasm", "WebAssembly")]
)
def test_where_the_network_runs(asked: str, engine: str, site: Path) -> None:
    """A graphics card that the processor plays is for who asks for it; its answers are the same."""
    with Image.open(SAMPLES / "cat.jpg") as image:
        image.convert("RGB").save(site / "image.png")
    with given_away(site) as address, browser_page(card=PLAYED_CARD) as page:
        page.goto(f"{address}/{asked}")
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this chromium plays no graphics card")
        page.wait_for_function("document.getElementById('about').textContent.includes('20 classes')", timeout=60_000)
        assert page.inner_text("#about").endswith(f"20 classes, by {engine}")
        found = page.evaluate(_LOOK)
    require_alike(found, load(engine="onnxruntime")(site / "image.png", min_score=0.5))


def test_a_network_that_the_card_cannot_run_goes_to_the_processor(site: Path) -> None:
    with given_away(site) as address, browser_page(card=PLAYED_CARD) as page:
        broken: list[str] = []

        def breaking(route: Route) -> None:
            broken.append(route.request.url)
            route.fulfill(status=200, content_type="text/javascript", body="throw new Error('no such operator')")

        page.context.route("**/ort.webgpu.bundle.min.mjs", breaking)
        page.goto(f"{address}/?engine=webgpu")
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this chromium plays no graphics card")
        page.wait_for_function("document.getElementById('about').textContent.includes('20 classes')", timeout=60_000)
        assert page.inner_text("#about").endswith("by WebAssembly")
        assert broken


_LOOK = """async () => {
  const engine = await import('./engine.js'), image = await (await fetch('image.png')).blob();
  return engine.look(image, { score: 0.5 });
}"""


def require_alike(found: dict[str, Any], expected: Result) -> None:
    """The same boxes from 0.5, IoU >= 0.95, but for those that rounding carries over the limit; >= 98 % of the mask."""
    assert len(expected)
    sure = [one for one in found["detections"] if one["score"] >= 0.52]
    clear = expected.filter(min_score=0.52)
    for one in sure:
        same = expected.labels == expected.class_names.index(one["label"])
        assert iou(np.array([one["box"]], np.float32), expected.boxes[same]).max(initial=0) >= 0.95
    for box, label in zip(clear.boxes, clear.labels, strict=True):
        boxes = [one["box"] for one in found["detections"] if one["label"] == expected.class_names[label]]
        assert iou(box[None], np.array(boxes, np.float32).reshape(-1, 4)).max(initial=0) >= 0.95
    assert expected.class_map is not None
    assert (unrolled(found["class_map"], expected.size) == expected.class_map).mean() >= 0.98
