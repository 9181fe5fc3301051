// The network, in a thread of its own: onnxruntime-web, on WebGPU where there is one, else in WebAssembly.
import { classMap, detections, resized } from "./finish.js";

const ready = begin(), wished = new URLSearchParams(self.location.search).get("engine");

async function begin() {
  const [spec, anchors, model] = await Promise.all([
    fetch("model.json").then((answer) => answer.json()),
    fetch("anchors.bin").then((answer) => answer.arrayBuffer()).then((content) => new Float32Array(content)),
    fetch("model.onnx").then((answer) => answer.arrayBuffer()),
  ]);
  const { engine, ...running } = await started(model);
  return { spec, anchors, ...running, about: { name: spec.name, classes: spec.classes, panoptic: false, engine } };
}

// On WebGPU where there is a graphics card for it and the network runs there, else in WebAssembly.
async function started(model) {
  if (await hasCard()) {
    const session = await start("WebGPU", "webgpu", model).catch(() => null);
    if (session) return session;
  }
  return start("WebAssembly", "wasm", model);
}

// A card that the processor plays takes fifty times as long as WebAssembly: only for who asks for it, `?engine=webgpu`.
async function hasCard() {
  if (wished === "wasm") return false;
  const card = await self.navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(card) && (wished === "webgpu" || !(card.info?.isFallbackAdapter ?? card.isFallbackAdapter));
}

async function start(engine, provider, model) {
  const ort = await import(`./ort/ort.${provider}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("./ort/", self.location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, self.navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: provider === "wasm" ? ["wasm"] : [provider, "wasm"],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  });
  return { ort, session, engine };
}

async function look({ blob, score }) {
  const { ort, spec, anchors, session } = await ready;
  const picture = await createImageBitmap(blob), { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0);
  const fed = resized(pen.getImageData(0, 0, width, height), spec.size);
  const answer = await session.run({ images: new ort.Tensor("uint8", fed, [1, ...spec.size, 3]) });
  const map = answer.class_map, image = { width, height };
  return {
    ...image,
    names: spec.classes,
    detections: detections(answer.offsets.data, answer.logits.data, anchors, spec, image, score),
    class_map: map && classMap(map.data, map.dims[1], map.dims.slice(2), image),
  };
}

self.onmessage = async ({ data: { number, asked } }) => {
  try {
    const answer = asked ? await look(asked) : (await ready).about;
    self.postMessage({ number, answer });
  } catch (error) {
    self.postMessage({ number, error: String(error.message ?? error) });
  }
};
