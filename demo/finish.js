// What surrounds the network, as blitznet's Python does it: resizing before it, boxes and class map after it.
// Held to the same answers by tests/demo: runtime/preprocess.py, postprocess/decode.py, core/boxes.py, postprocess/upsample.py.

// Pillow's antialiased bilinear resize of RGBA pixels to RGB: rows of 8-bit values, first across, then down.
export function resized({ data, width, height }, [h, w]) {
  const across = weights(width, w), down = weights(height, h);
  const narrow = new Uint8Array(height * w * 3), small = new Uint8Array(h * w * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < w; x++) {
      const { from, shares } = across[x];
      let r = 0, g = 0, b = 0;
      for (let k = 0, at = 4 * (y * width + from); k < shares.length; k++, at += 4) {
        r += shares[k] * data[at]; g += shares[k] * data[at + 1]; b += shares[k] * data[at + 2];
      }
      const to = 3 * (y * w + x);
      narrow[to] = r + 0.5; narrow[to + 1] = g + 0.5; narrow[to + 2] = b + 0.5;
    }
  }
  for (let y = 0; y < h; y++) {
    const { from, shares } = down[y];
    for (let i = 0; i < 3 * w; i++) {
      let sum = 0.5;
      for (let k = 0, at = 3 * from * w + i; k < shares.length; k++, at += 3 * w) sum += shares[k] * narrow[at];
      small[3 * y * w + i] = sum;
    }
  }
  return small;
}

// For each of `to` places the first of `from` that counts, and how much it and those behind it do.
function weights(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5)), end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const shares = Array.from({ length: end - first }, (_, k) => Math.max(0, 1 - Math.abs((first + k - centre + 0.5) / reach)));
    const whole = shares.reduce((a, b) => a + b, 0);
    return { from: first, shares: shares.map((share) => share / whole) };
  });
}

// Detections of raw answers: [{label, score, box}], the best first; boxes in pixels of the image.
export function detections(offsets, logits, anchors, spec, { width, height }, least) {
  const channels = spec.classes.length + 1, { limits, temperature, shift } = spec;
  const bar = own(Math.max(limits.score, least), spec);
  const found = Array.from({ length: channels - 1 }, () => []);
  for (let a = 0, at = 0; a < anchors.length / 4; a++, at += channels) {
    let top = -Infinity;
    for (let c = 0; c < channels; c++) top = Math.max(top, logits[at + c]);
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += Math.exp(logits[at + c] - top);
    for (let c = 1; c < channels; c++) {
      const score = Math.exp(logits[at + c] - top) / sum;
      if (score > bar) found[c - 1].push({ label: c - 1, score, anchor: a });
    }
  }
  const kept = found.flatMap((ones) => {
    const best = ones.sort((a, b) => b.score - a.score).slice(0, limits.candidates);
    for (const one of best) one.box = placed(offsets, anchors, one.anchor, spec.anchors.variances);
    return suppressed(best, limits.iou).slice(0, limits.per_class);
  });
  return kept.sort((a, b) => b.score - a.score).slice(0, limits.per_image).map(({ label, score, box }) => ({
    label: spec.classes[label],
    score: told(score, temperature, shift),
    box: box.map((side, k) => side * (k % 2 ? height : width)),
  }));
}

const told = (score, temperature, shift) => 1 / (1 + Math.exp(-(Math.log(score / (1 - score)) / temperature + shift)));
const own = (score, { temperature, shift }) => score <= 0 || score >= 1 ? score
  : 1 / (1 + Math.exp(-(Math.log(score / (1 - score)) - shift) * temperature));

function placed(offsets, anchors, a, variances) {
  const [cx, cy, w, h] = anchors.subarray(4 * a, 4 * a + 4);
  const [dx, dy, dw, dh] = [0, 1, 2, 3].map((k) => offsets[4 * a + k] * variances[k]);
  const x = cx + dx * w, y = cy + dy * h, half = (w * Math.exp(dw)) / 2, tall = (h * Math.exp(dh)) / 2;
  return [x - half, y - tall, x + half, y + tall].map((side) => Math.min(1, Math.max(0, side)));
}

function suppressed(sorted, limit) {
  const stay = [];
  for (const one of sorted) if (!stay.some((better) => overlap(better.box, one.box) > limit)) stay.push(one);
  return stay;
}

function overlap(a, b) {
  const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), tall = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (wide <= 0 || tall <= 0) return 0;
  const shared = wide * tall, area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared / (area(a) + area(b) - shared);
}

// The class map at full size, in runs: logits (C, h, w) bilinearly to full size, the best channel. Between four places
// with one best channel it is that one everywhere, so that only borders are computed.
export function classMap(logits, channels, [h, w], { width, height }) {
  const plane = h * w, best = new Uint8Array(plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 1; c < channels; c++) if (logits[c * plane + i] > logits[best[i] * plane + i]) best[i] = c;
  }
  const xs = between(w, width), ys = between(h, height), runs = [];
  let last = -1;
  for (let y = 0; y < height; y++) {
    const { low: top, high: below, share: v } = ys[y];
    for (let x = 0; x < width; x++) {
      const { low: left, high: right, share: u } = xs[x];
      const [a, b, c, d] = [top * w + left, top * w + right, below * w + left, below * w + right];
      let value = best[a];
      if (best[b] !== value || best[c] !== value || best[d] !== value) {
        let most = -Infinity;
        for (let k = 0, at = 0; k < channels; k++, at += plane) {
          const upper = logits[at + a] + (logits[at + b] - logits[at + a]) * u;
          const lower = logits[at + c] + (logits[at + d] - logits[at + c]) * u;
          const here = upper + (lower - upper) * v;
          if (here > most) { most = here; value = k; }
        }
      }
      if (value === last) runs[runs.length - 1]++;
      else { runs.push(value, 1); last = value; }
    }
  }
  return runs;
}

// Where pixels lie between places, half-pixel centres.
function between(places, pixels) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = Math.min(Math.max(((pixel + 0.5) * places) / pixels - 0.5, 0), places - 1), low = Math.trunc(at);
    return { low, high: Math.min(low + 1, places - 1), share: at - low };
  });
}
