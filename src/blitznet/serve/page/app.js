// The page: a picture or a camera in, boxes and mask on it. Who looks is engine.js' business.
import * as engine from "./engine.js";

const part = (id) => document.getElementById(id);
const canvas = part("view"), pen = canvas.getContext("2d");
const LEAST = 0.05;

const seen = { picture: null, blob: null, answer: null, hidden: new Set(), line: null, asked: 0, starts: 0 };

// ---- colours: those of blitznet's own pictures, hues a golden section apart

function colour(label) {
  const hue = (0.02 + label * 0.618034) % 1, [s, v] = [[0.85, 1], [0.6, 1], [0.9, 0.8]][label % 3];
  const at = (n) => { const k = (n + hue * 6) % 6; return v - v * s * Math.max(0, Math.min(k, 4 - k, 1)); };
  const rgb = [at(5), at(3), at(1)], light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
  const lift = light < 0.42 ? (0.42 - light) / (1 - light) : 0;
  return rgb.map((c) => Math.round(255 * (c + (1 - c) * lift)));
}
const css = (rgb) => `rgb(${rgb.join(" ")})`;
const bright = (rgb) => 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 128;

// ---- what is drawn

const score = () => Number(part("score").value);
const shown = () => seen.answer.detections.filter((d) => d.score >= score() && !seen.hidden.has(d.label));

function unrolled(runs, size) {
  const values = new Uint16Array(size);
  for (let i = 0, at = 0; i < runs.length; at += runs[i + 1], i += 2) values.fill(runs[i], at, at + runs[i + 1]);
  return values;
}

// For each value of the map its colour, or nothing.
function tints() {
  const { names, panoptic } = seen.answer, tint = new Map();
  if (part("instances").checked && panoptic) {
    for (const { id, label } of panoptic.segments) if (!seen.hidden.has(label)) tint.set(id, colour(id * 7 + 3));
    return [panoptic.runs, tint];
  }
  names.forEach((name, label) => { if (!seen.hidden.has(name)) tint.set(label + 1, colour(label)); });
  return [seen.answer.class_map, tint];
}

function drawMask() {
  const { width, height } = seen.answer, [runs, tint] = tints();
  if (!runs) return;
  const values = unrolled(runs, width * height), opacity = Number(part("opacity").value);
  const layer = new OffscreenCanvas(width, height), painted = new ImageData(width, height), data = painted.data;
  for (let i = 0; i < values.length; i++) {
    const rgb = tint.get(values[i]);
    if (!rgb) continue;
    const x = i % width;
    const border = (x > 0 && values[i - 1] !== values[i]) || (x < width - 1 && values[i + 1] !== values[i]) ||
      (i >= width && values[i - width] !== values[i]) || (i + width < values.length && values[i + width] !== values[i]);
    data.set([...rgb, 255 * (border && opacity > 0 ? 1 : opacity)], 4 * i);
  }
  layer.getContext("2d").putImageData(painted, 0, 0);
  pen.drawImage(layer, 0, 0);
}

function drawBoxes() {
  const long = Math.max(canvas.width, canvas.height), line = Math.max(2, Math.round(long / 250));
  const size = Math.max(12, Math.round(long / 34));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const { label, score: sure, box: [x1, y1, x2, y2] } of shown().reverse()) {
    const rgb = colour(seen.answer.names.indexOf(label));
    for (const [wide, ink] of [[line + 2, "#000"], [line, css(rgb)]]) {
      pen.lineWidth = wide; pen.strokeStyle = ink; pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    const text = `${label} ${sure.toFixed(2)}`, wide = pen.measureText(text).width + 8, high = size + 6;
    const x = Math.max(0, Math.min(x1, canvas.width - wide)), y = y1 >= high ? y1 - high : y1;
    pen.fillStyle = css(rgb); pen.fillRect(x, y, wide, high);
    pen.fillStyle = bright(rgb) ? "#000" : "#fff"; pen.fillText(text, x + 4, y + 3);
  }
}

function draw() {
  if (!seen.answer) return;
  const { width, height } = seen.answer;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  pen.drawImage(seen.picture, 0, 0, width, height);
  if (part("mask").checked) drawMask();
  if (part("boxes").checked) drawBoxes();
  fillTable();
}

function fillTable() {
  const rows = shown().map(({ label, score: sure, box: [x1, y1, x2, y2] }) => {
    const row = document.createElement("tr");
    const cells = [label, sure.toFixed(2), [x1, y1, x2 - x1, y2 - y1].map(Math.round).join(", ")];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  });
  part("table").hidden = !rows.length;
  part("table").tBodies[0].replaceChildren(...rows);
}

function fillClasses() {
  const { names, class_map: runs, detections } = seen.answer;
  const there = new Set([...seen.hidden, ...detections.filter((d) => d.score >= score()).map((d) => d.label)]);
  for (let i = 0; runs && i < runs.length; i += 2) if (runs[i] > 0 && runs[i] <= names.length) there.add(names[runs[i] - 1]);
  const labels = names.filter((name) => there.has(name)).map((name) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !seen.hidden.has(name) });
    box.onchange = () => { seen.hidden[box.checked ? "delete" : "add"](name); draw(); };
    const chip = Object.assign(document.createElement("span"), { className: "chip" });
    chip.style.background = css(colour(names.indexOf(name)));
    const label = document.createElement("label");
    label.append(box, chip, name);
    return label;
  });
  part("classes").hidden = !labels.length;
  part("classes").replaceChildren(part("classes").firstElementChild, ...labels);
}

function say(text, wrong = false) {
  part("status").textContent = text;
  part("status").classList.toggle("wrong", wrong);
}

// ---- looking

const wish = () => ({ score: part("instances").checked ? score() : LEAST, instances: part("instances").checked });

async function lookAt(blob, picture) {
  const number = ++seen.asked;
  say("Looking ...");
  try {
    const begun = performance.now(), answer = await engine.look(blob, wish());
    if (number !== seen.asked) return;  // another was asked for meanwhile
    show(answer, picture, blob);
    const found = shown().length;
    say(`${found} thing${found === 1 ? "" : "s"} in ${Math.round(performance.now() - begun)} ms, ` +
      `${answer.width} x ${answer.height} pixels`);
  } catch (error) {
    if (number === seen.asked) say(String(error.message ?? error), true);
  }
}

function show(answer, picture, blob) {
  Object.assign(seen, { answer, picture, blob });
  part("drop").hidden = true;
  canvas.hidden = false;
  part("save").disabled = part("copy").disabled = false;
  fillClasses();
  draw();
}

async function open(file) {
  if (!file) return;
  stopCamera();
  try {
    await lookAt(file, await createImageBitmap(file));
  } catch {
    say(`${file.name ?? "this"} is no picture that this browser can show`, true);
  }
}

// ---- the camera

async function startCamera() {
  stopCamera();
  const video = part("camera"), shot = new OffscreenCanvas(1, 1), number = seen.starts;
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, facingMode: "environment" } });
    if (number !== seen.starts) return end(stream);  // another press, or a file, came first
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    if (number === seen.starts) { say(`no camera: ${error.message ?? error}`, true); stopCamera(); }
    return;
  }
  if (number !== seen.starts) return;  // who came first has ended the stream
  part("live").setAttribute("aria-pressed", "true");
  const mine = (seen.line = engine.openLine(wish()));
  let frames = 0, since = performance.now();
  try {
    while (seen.line === mine) {
      Object.assign(shot, { width: video.videoWidth, height: video.videoHeight });
      shot.getContext("2d").drawImage(video, 0, 0);
      const picture = await createImageBitmap(shot), blob = await shot.convertToBlob({ type: "image/jpeg", quality: 0.8 });
      const answer = await mine.look(blob);
      if (seen.line !== mine) break;
      show(answer, picture, blob);
      if (++frames % 10 === 0) {
        say(`${((10 * 1000) / (performance.now() - since)).toFixed(1)} frames a second`);
        since = performance.now();
      }
    }
  } catch (error) {
    if (seen.line === mine) { say(String(error.message ?? error), true); stopCamera(); }
  }
}

const end = (stream) => { for (const track of stream?.getTracks() ?? []) track.stop(); };

function stopCamera() {
  seen.starts++;  // a camera that is still starting ends when it is there
  seen.line?.close();
  seen.line = null;
  part("live").setAttribute("aria-pressed", "false");
  end(part("camera").srcObject);
  part("camera").srcObject = null;
}

// ---- hands

function save() {
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "blitznet.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

async function copy() {
  const { width, height } = seen.answer;
  try {
    await navigator.clipboard.writeText(JSON.stringify({ width, height, detections: shown() }, null, 1));
    say("The JSON is in the clipboard.");
  } catch (error) {
    say(`cannot copy: ${error.message ?? error}`, true);
  }
}

const again = () => (seen.blob && !seen.line ? lookAt(seen.blob, seen.picture) : draw());

part("file").onchange = ({ target }) => { open(target.files[0]); target.value = ""; };
part("live").onclick = () => (seen.line ? stopCamera() : startCamera());
part("save").onclick = save;
part("copy").onclick = copy;
part("score").oninput = () => { part("score-said").textContent = score().toFixed(2); draw(); };
part("score").onchange = () => { if (part("instances").checked) again(); else if (seen.answer) fillClasses(); };
part("opacity").oninput = ({ target }) => { part("opacity-said").textContent = `${Math.round(100 * target.value)} %`; draw(); };
part("boxes").onchange = part("mask").onchange = draw;
part("instances").onchange = () => {
  if (seen.line) startCamera(); else again();
};
const KEYS = { o: () => part("file").click(), c: () => part("live").click(), d: () => part("save").click(),
  j: () => part("copy").click(), i: () => part("instances").click() };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox])")) return;
  KEYS[event.key.toLowerCase()]?.();
});
addEventListener("paste", ({ clipboardData }) => open(clipboardData.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => { event.preventDefault(); part("stage").classList.add("over"); });
}
addEventListener("dragleave", () => part("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  part("stage").classList.remove("over");
  open(event.dataTransfer.files[0]);
});

try {
  const { name, classes, panoptic = true, engine: where } = await engine.about();
  part("instances").parentElement.hidden = !panoptic;
  part("about").textContent = `${name}: boxes and a class for every pixel, ${classes.length} classes${where ? `, by ${where}` : ""}`;
} catch (error) {
  say(String(error.message ?? error), true);
}
