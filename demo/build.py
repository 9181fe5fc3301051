"""The page without a server: put together what a browser needs into one folder, which any web server can give away.

`python demo/build.py --out demo/dist` and `python demo/build.py --out demo/dist --serve` (needs npm, and with --serve
nothing else). Threads of WebAssembly want the headers that `serve` sends; without them it computes in one thread.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from blitznet.api import WEIGHTS, load
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import DEFAULT

HERE = Path(__file__).parent
PAGE = HERE.parent / "src" / "blitznet" / "serve" / "page"
OURS = ("engine.js", "finish.js", "worker.js")
RUNTIME = (
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""of onnxruntime-web: for processors, and for WebGPU"""


@dataclass(frozen=True)
class Options:
    """Where it is put."""

    out: Path = HERE / "dist"
    runtime: Path | None = None
    """folder that has onnxruntime-web's files already; not given: npm brings them"""
    serve: bool = False
    """give it away on this machine, until Ctrl-C"""
    port: int = 8080


class Isolated(SimpleHTTPRequestHandler):
    """Sends the headers without which browsers give WebAssembly no threads."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        """The two headers, and the end."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def build(out: Path, runtime: Path | None = None) -> None:
    """Everything into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for path in (*PAGE.iterdir(), *(HERE / name for name in OURS)):  # our engine.js in place of the server's
        shutil.copy(path, out / path.name)
    spec = load(WEIGHTS / f"{DEFAULT}.onnx", engine="onnxruntime").spec
    shutil.copy(WEIGHTS / f"{DEFAULT}.onnx", out / "model.onnx")
    (out / "model.json").write_text(spec.to_json())
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
    (out / "anchors.bin").write_bytes(anchors.astype("<f4").tobytes())
    assert anchors.dtype == np.float32
    (out / "ort").mkdir(exist_ok=True)
    if runtime is not None:
        _take(runtime, out)
        return
    with TemporaryDirectory() as folder:
        shutil.copy(HERE / "package.json", folder)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
        _take(Path(folder) / "node_modules" / "onnxruntime-web" / "dist", out)


def _take(runtime: Path, out: Path) -> None:
    for name in RUNTIME:
        shutil.copy(runtime / name, out / "ort" / name)


def main(options: Options) -> None:
    """Build, and serve if that is wanted."""
    if options.runtime is None and shutil.which("npm") is None:
        print(
            "demo: there is no npm, which brings onnxruntime-web; --runtime names a folder that has it", file=sys.stderr
        )
        sys.exit(2)
    build(options.out, options.runtime)
    print(f"demo: {options.out}")
    if options.serve:
        with ThreadingHTTPServer(("127.0.0.1", options.port), partial(Isolated, directory=options.out)) as server:
            print(f"demo: http://127.0.0.1:{server.server_port}")
            server.serve_forever()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
