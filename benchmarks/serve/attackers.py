"""The attacks: each keeps many clients busy until a deadline, and counts what they got."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.serve import bombs
from benchmarks.serve.http_client import CLOSED, Client, HttpRequest, RawConnection, Reply, Tally, Target

FLOOD = 10.0
"""offered rate of a flood, as a multiple of the measured capacity"""
_CAPACITY_CLIENTS = 8
_BATCH = 16
"""images of a batch request"""
_STATUS_START = b'{"error": '


@dataclass(frozen=True)
class Plan:
    """What an attacker needs to know."""

    target: Target
    seconds: float
    image: bytes
    """an image file, which honest clients send too"""
    clients: int | None = None
    """number of clients. None: that of the attack"""


@dataclass
class Outcome:
    """What the clients of an attack got."""

    tally: Tally = field(default_factory=Tally)
    capacity: float | None = None
    """images per second that the server predicts without a flood; None for other attacks"""
    offered: float | None = None
    """images per second that the clients of a flood sent"""
    accepted: float | None = None
    """images per second of those that the server predicted"""


Attack = Callable[[Plan], Awaitable[Outcome]]


async def slow_headers(plan: Plan) -> Outcome:
    """Headers that arrive line by line and never end."""
    return await _raw_clients(plan, 600, plan.target.get("/").head[:-2], b"X-Slow: 1\r\n")


async def slow_bodies(plan: Plan) -> Outcome:
    """Bodies that stall shortly before their end, and then arrive byte by byte."""
    whole = plan.target.post("/v1/predict", bytes(2_000_000))
    return await _raw_clients(plan, 200, whole.head + whole.body[:-1000], b"x")


async def idle_connections(plan: Plan) -> Outcome:
    """Connections that send nothing."""
    return await _raw_clients(plan, 400, b"", b"")


async def unread_answers(plan: Plan) -> Outcome:
    """Requests for large class maps whose responses are not read."""
    body = bombs.kserve_body(bombs.plain_png(3000), "class_map")
    request = plan.target.post(f"/v2/models/{plan.target.model}/infer", body)
    return await _raw_clients(plan, 24, request.head + request.body, b"", hold=True)


async def http_headers(plan: Plan) -> Outcome:
    """Headers that are too many, too long, or no headers."""
    many = [f"X-{number}: 1" for number in range(20_000)]
    requests = [
        plan.target.get("/", *many),
        plan.target.get("/", "X: " + "x" * 5_000_000),
        plan.target.get("/" + "a" * 5_000_000),
        HttpRequest(b"\x16\x03\x01" * 100_000 + b"\r\n\r\n"),
        plan.target.post("/v1/predict", b"", "Content-Length: 5", "Transfer-Encoding: chunked"),
    ]
    return await _repeat(plan, 16, requests)


async def image_headers(plan: Plan) -> Outcome:
    """Images of 20 MB that are all header."""
    return await _repeat(plan, 8, [plan.target.post("/v1/predict", body) for body in bombs.image_headers()])


async def json_bombs(plan: Plan) -> Outcome:
    """JSON of 20 MB that takes long to parse, for KServe and as a batch."""
    paths = (f"/v2/models/{plan.target.model}/infer", "/v1/predict/batch")
    return await _repeat(plan, 40, [plan.target.post(path, body) for body in bombs.json_bodies() for path in paths])


async def decompression_bombs(plan: Plan) -> Outcome:
    """Images and bodies that decompress to gigabytes."""
    requests = [plan.target.post("/v1/predict", body) for body in bombs.decompression()]
    requests.append(plan.target.post("/v1/predict", bombs.gzip_bomb(), "Content-Encoding: gzip"))
    return await _repeat(plan, 8, requests)


async def flood_http(plan: Plan) -> Outcome:
    """Images by POST /v1/predict at ten times the capacity."""
    return await _flood(plan, _http_sender(plan.target, plan.target.post("/v1/predict", plan.image)), 200)


async def flood_kserve(plan: Plan) -> Outcome:
    """Images by KServe's protocol at ten times the capacity."""
    path = f"/v2/models/{plan.target.model}/infer"
    request = plan.target.post(path, bombs.kserve_body(plan.image, "boxes", "scores", "labels"))
    return await _flood(plan, _http_sender(plan.target, request), 200)


async def flood_batch(plan: Plan) -> Outcome:
    """Batches of 16 images at ten times the capacity."""
    request = plan.target.post("/v1/predict/batch", bombs.batch_body(plan.image, _BATCH))
    return await _flood(plan, _http_sender(plan.target, request), 48, images=_BATCH)


async def flood_websocket(plan: Plan) -> Outcome:
    """Images by WebSockets at ten times the capacity."""
    return await _flood(plan, lambda: _WebSocketClient(plan), 200)


ATTACKS: dict[str, Attack] = {
    "slow headers": slow_headers,
    "slow bodies": slow_bodies,
    "idle connections": idle_connections,
    "unread answers": unread_answers,
    "HTTP headers": http_headers,
    "image headers": image_headers,
    "JSON": json_bombs,
    "decompression": decompression_bombs,
    "flood, HTTP": flood_http,
    "flood, KServe": flood_kserve,
    "flood, batches": flood_batch,
    "flood, WebSocket": flood_websocket,
}
"""every attack by its name in the table"""


async def _raw_clients(plan: Plan, count: int, start: bytes, drip: bytes, *, hold: bool = False) -> Outcome:
    """Clients that send `start`, then `drip` each second; `hold` keeps a connection whose response began."""
    outcome, end = Outcome(), time.monotonic() + plan.seconds

    async def run() -> None:
        while time.monotonic() < end:
            connection = RawConnection(plan.target)
            try:
                status = await _drip(connection, start, drip, end)
                if status is not None:
                    outcome.tally.statuses[status] += 1
                if hold and status == 200:
                    await asyncio.sleep(max(0.0, end - time.monotonic()))
            finally:
                await connection.close()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(run() for _ in range(plan.clients or count)))
    return outcome


async def _drip(connection: RawConnection, start: bytes, drip: bytes, end: float) -> int | None:
    """The status that the server answers with in the end; None if it does not before the deadline."""
    open_ = await connection.send(start)
    while open_ and time.monotonic() < end:
        status = await connection.status(min(1.0, max(0.0, end - time.monotonic())))
        if status is not None:
            return status
        open_ = not drip or await connection.send(drip)
    return None if open_ else CLOSED


async def _repeat(plan: Plan, count: int, requests: list[HttpRequest]) -> Outcome:
    """Clients that send the requests in turn, each after the response to the one before."""
    outcome, end = Outcome(), time.monotonic() + plan.seconds

    async def run(number: int) -> None:
        client = Client(plan.target)
        for request in islice(cycle(requests), number, None):
            if time.monotonic() >= end:
                break
            outcome.tally.add(await client.request(request))
        client.close()

    await asyncio.gather(*(run(number % len(requests)) for number in range(plan.clients or count)))
    return outcome


class _HttpClient:
    """Sends one request again and again."""

    def __init__(self, target: Target, request: HttpRequest) -> None:
        self._client = Client(target)
        self._request = request

    async def send(self) -> Reply:
        return replace(await self._client.request(self._request), content=b"")

    async def close(self) -> None:
        self._client.close()


def _http_sender(target: Target, request: HttpRequest) -> Callable[[], _HttpClient]:
    return lambda: _HttpClient(target, request)


class _WebSocketClient:
    """Sends one image again and again over a WebSocket."""

    def __init__(self, plan: Plan) -> None:
        self._url = f"ws://{plan.target.host}:{plan.target.port}/v1/stream"
        self._image = plan.image
        self._socket: ClientConnection | None = None

    async def send(self) -> Reply:
        start = time.perf_counter()
        status = CLOSED
        try:
            if self._socket is None:
                self._socket = await connect(self._url, compression=None, ping_interval=None, open_timeout=60)
            await self._socket.send(self._image)
            status = _message_status(await self._socket.recv(decode=False))
        except (OSError, WebSocketException, TimeoutError):
            self._socket = None
        return Reply(status, time.perf_counter() - start)

    async def close(self) -> None:
        if self._socket is not None:
            with suppress(OSError, WebSocketException, TimeoutError):
                await self._socket.close()


def _message_status(message: bytes) -> int:
    return int(message[-4:-1]) if message.startswith(_STATUS_START) else 200


async def _flood(
    plan: Plan, make_client: Callable[[], _HttpClient | _WebSocketClient], count: int, *, images: int = 1
) -> Outcome:
    """Measure the capacity with few clients, then send ten times as much with many."""
    seconds = min(5.0, plan.seconds)
    measured = await _run_clients(make_client, _CAPACITY_CLIENTS, seconds, None, Tally())
    capacity = measured * images
    outcome = Outcome(capacity=capacity)
    clients = plan.clients or count
    interval = clients * images / (FLOOD * max(capacity, 1.0))
    rate = await _run_clients(make_client, clients, plan.seconds, interval, outcome.tally)
    outcome.accepted = rate * images
    outcome.offered = sum(outcome.tally.statuses.values()) * images / plan.seconds
    return outcome


async def _run_clients(
    make_client: Callable[[], _HttpClient | _WebSocketClient],
    count: int,
    seconds: float,
    interval: float | None,
    tally: Tally,
) -> float:
    """Run clients, each with a request per interval or without a pause; the number of accepted ones per second."""
    start = time.monotonic()
    end = start + seconds

    async def run(number: int) -> None:
        client = make_client()
        due = start + (interval or 0.0) * number / count
        while max(time.monotonic(), due) < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tally.add(await client.send())
            due += interval or 0.0
        await client.close()

    await asyncio.gather(*(run(number) for number in range(count)))
    return len(tally.accepted) / (time.monotonic() - start)
