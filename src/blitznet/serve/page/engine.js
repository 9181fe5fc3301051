// Who looks at pictures: the server that this page came from.
// engine.about() -> {name, classes, ...}; engine.look(blob, wish) -> the answer of POST /v1/predict.

let token = null;

function words({ score, instances }) {
  return `score=${score}&class_map=1${instances ? "&panoptic=1" : ""}`;
}

async function asked(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (answer.status === 401 && (token = prompt("This server wants a token:"))) return asked(path, options);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? `the server answered ${answer.status}`);
  return content;
}

export const about = () => asked("v1/model");

export const look = (blob, wish) => asked(`v1/predict?${words(wish)}`, { method: "POST", body: blob });

// A line for a camera: its look() is called with one picture after the other, each when the last was answered.
export function openLine(wish) {
  const address = new URL(`v1/stream?${words(wish)}${token ? `&token=${encodeURIComponent(token)}` : ""}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  const opened = new Promise((done, failed) => {
    socket.onopen = done;
    socket.onerror = () => failed(new Error("the server does not answer"));
  });
  opened.catch(() => {});  // look() tells it; nobody may ever call it
  return {
    async look(blob) {
      await opened;
      return new Promise((done, failed) => {
        const closed = () => failed(new Error("the server has closed the line"));
        if (socket.readyState !== WebSocket.OPEN) return closed();  // it would send nothing, and hear nothing
        socket.onmessage = ({ data }) => {
          const answer = JSON.parse(data);
          if (answer.error) failed(new Error(answer.error));
          else done(answer);
        };
        socket.onclose = closed;
        socket.send(blob);
      });
    },
    close: () => socket.close(),
  };
}
