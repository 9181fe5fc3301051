// The inference engine of the page: the server that the page came from. `demo/engine.js` runs in the browser instead.
// getModel() -> {name, classes, ...}; predict(blob, options) -> the JSON of POST /v1/predict;
// openStream(options) -> {predict(blob), close()}. Options: minScore, panoptic.

let token = null;

function queryString({ minScore, panoptic }) {
  return `min_score=${minScore}&class_map=1${panoptic ? "&panoptic=1" : ""}`;
}

async function request(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401 && (token = prompt("This server requires a token:"))) return request(path, options);
  const content = await response.json();
  if (!response.ok) throw new Error(content.error ?? `the server returned status ${response.status}`);
  return content;
}

export const getModel = () => request("v1/model");

export const predict = (blob, options) => request(`v1/predict?${queryString(options)}`, { method: "POST", body: blob });

// A WebSocket for camera frames; call predict() again only after the last one resolved.
export function openStream(options) {
  const query = `${queryString(options)}${token ? `&token=${encodeURIComponent(token)}` : ""}`;
  const url = new URL(`v1/stream?${query}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  const opened = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("cannot connect to the server"));
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
          if (result.error) reject(new Error(result.error));
          else resolve(result);
        };
        socket.onclose = rejectClosed;
        socket.send(blob);
      });
    },
    close: () => socket.close(),
  };
}
