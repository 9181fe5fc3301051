// Runs the network in a worker: onnxruntime-web on WebGPU if there is an adapter, else on WebAssembly.
import { decodeDetections, resize, upsampleArgmax } from "./postprocess.js";

const model = loadModel(), requestedEngine = new URLSearchParams(self.location.search).get("engine");

async function loadModel() {
  const [spec, anchors, file] = await Promise.all([
    load("model.json").then((response) => response.json()),
    load("anchors.bin").then((response) => response.arrayBuffer()).then((content) => new Float32Array(content)),
    load("model.onnx").then((response) => response.arrayBuffer()),
  ]);
  const { engine, ...running } = await createSession(file);
  return { spec, anchors, ...running, info: { name: spec.name, classes: spec.classes, panoptic: false, engine } };
}

async function load(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`Cannot load ${name}: status ${response.status}.`);
  return response;
}

async function createSession(file) {
  if (await usesWebGpu()) {
    const session = await createSessionOn("WebGPU", "webgpu", file).catch(() => null);
    if (session) return session;
  }
  return createSessionOn("WebAssembly", "wasm", file);
}

// A software adapter is fifty times slower than WebAssembly: used for `?engine=webgpu` only.
async function usesWebGpu() {
  if (requestedEngine === "wasm") return false;
  const adapter = await self.navigator.gpu?.requestAdapter().catch(() => null);
  const isSoftware = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter;
  return Boolean(adapter) && (requestedEngine === "webgpu" || !isSoftware);
}

async function createSessionOn(engine, provider, file) {
  const ort = await import(`./ort/ort.${provider}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("./ort/", self.location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, self.navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(file, {
    executionProviders: provider === "wasm" ? ["wasm"] : [provider, "wasm"],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  });
  return { ort, session, engine };
}

async function predict({ blob, minScore }) {
  const { ort, spec, anchors, session } = await model;
  const bitmap = await createImageBitmap(blob), size = { width: bitmap.width, height: bitmap.height };
  const canvas = new OffscreenCanvas(size.width, size.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";  // under transparent pixels
  context.fillRect(0, 0, size.width, size.height);
  context.drawImage(bitmap, 0, 0);
  const input = resize(context.getImageData(0, 0, size.width, size.height), spec.size);
  const outputs = await session.run({ images: new ort.Tensor("uint8", input, [1, ...spec.size, 3]) });
  const { offsets, logits, segmentation_logits: segmentation } = outputs;
  return {
    ...size,
    class_names: spec.classes,
    detections: decodeDetections(offsets.data, logits.data, anchors, spec, size, minScore),
    class_map: segmentation && upsampleArgmax(segmentation.data, segmentation.dims[1], segmentation.dims.slice(2), size),
  };
}

self.onmessage = async ({ data: { number, request } }) => {
  try {
    const response = request ? await predict(request) : (await model).info;
    self.postMessage({ number, response });
  } catch (error) {
    self.postMessage({ number, error: String(error.message ?? error) });
  }
};
