// The inference engine of the page: the server that the page came from. `demo/engine.js` runs in the browser instead.
// getModel() -> {name, classes, ...}; predict(blob, options) -> the JSON of POST /v1/predict;
// openStream(options) -> {predict(blob), close()}. Options: minScore, panoptic.

const TOKEN_KEY = "blitznet-token";
let token = sessionStorage.getItem(TOKEN_KEY), hasSegmentation = true, maxBytes = null;

function queryString({ minScore, panoptic }) {
  return `min_score=${minScore}${hasSegmentation ? "&class_map=1" : ""}${panoptic ? "&panoptic=1" : ""}`;
}

// What a person can do about a status, which a proxy may have sent instead of the server.
function errorText(status, detail) {
  if (status === 413 && !detail?.includes("pixels")) {
    const limit = maxBytes ? `: at most ${(maxBytes / 1e6).toFixed(0)} MB` : "";
    return `The image is too large for this server${limit}. Make it smaller.`;
  }
  if (status === 429) return "The server is busy. Try again in a moment.";
  if (status === 502 || status === 504) return "The server does not answer. Try again later.";
  if (status === 503) return "The server is too busy or stops. Try again in a moment.";
  return detail ?? `The server answered with status ${status}.`;
}

function failure(status, detail) {
  return Object.assign(new Error(errorText(status, detail)), { status });
}

function promptForToken() {
  const text = prompt("This server requires a token:")?.trim();
  if (text && !/^[!-~]+$/.test(text)) throw new Error("A token has letters, digits and signs without spaces only.");
  token = text || null;
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  return token;
}

async function request(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  } catch {
    throw new Error("Cannot reach the server. Is it running?");
  }
  if (response.status === 401) {
    sessionStorage.removeItem(TOKEN_KEY);
    if (promptForToken()) return request(path, options);
  }
  const content = await response.json().catch(() => null);  // a proxy's error is HTML
  if (!response.ok || content === null) throw failure(response.status, content?.error);
  return content;
}

export async function getModel() {
  const model = await request("v1/model");
  hasSegmentation = model.tasks.includes("segmentation");
  maxBytes = model.limits.max_body_bytes;
  return { ...model, panoptic: hasSegmentation && model.tasks.includes("detection") };
}

export const predict = (blob, options) => request(`v1/predict?${queryString(options)}`, { method: "POST", body: blob });

// A WebSocket for camera frames; call predict() again only after the last one resolved.
export function openStream(options) {
  const query = `${queryString(options)}${token ? `&token=${encodeURIComponent(token)}` : ""}`;
  const url = new URL(`v1/stream?${query}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  const opened = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("Cannot reach the server. Is it running?"));
  });
  opened.catch(() => {});  // predict() reports the error; it may never be called
  return {
    async predict(blob) {
      await opened;
      return new Promise((resolve, reject) => {
        const rejectClosed = () => reject(new Error("the server closed the connection"));
        if (socket.readyState !== WebSocket.OPEN) return rejectClosed();  // a closed socket sends no events
        socket.onmessage = ({ data }) => {
          const result = JSON.parse(data);
          if (result.error) reject(failure(result.status, result.error));
          else resolve(result);
        };
        socket.onclose = rejectClosed;
        socket.send(blob);
      });
    },
    close: () => socket.close(),
  };
}
