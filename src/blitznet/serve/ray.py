"""A Ray Serve application: the server of this package, in replicas that Ray starts and stops with the load.

Run it with `serve run blitznet.serve.ray:app`. Each replica is a whole server of one process: limits, batching of the
images that wait, KServe's protocol, WebSockets, the web page and metrics.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ray import serve
from starlette.applications import Starlette

from blitznet.api import load
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.runtime.engine import EngineName
from blitznet.serve.app import make_app
from blitznet.serve.limits import TOKEN_VARIABLE, ServeLimits
from blitznet.serve.service import require_token

_POLL = 0.05
"""seconds between two checks whether a replica is warm"""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Arguments of the application, as `serve run blitznet.serve.ray:app model=mine.onnx max_replicas=8`."""

    model: str = DEFAULT
    """name of a model in the package, or a model file that every machine of the cluster can read"""
    engine: EngineName = "auto"
    cpus: int = 1
    """processors that Ray reserves for a replica; its engine has as many threads"""
    batch: int = 4
    """maximum number of waiting images that go through the network together"""
    max_queue: int = 64
    """maximum number of requests of a replica"""
    min_replicas: int = 1
    max_replicas: int = 4
    target_requests: int = 8
    """requests of a replica above which Ray starts another one"""

    def __post_init__(self) -> None:
        for name in ("cpus", "batch", "max_queue", "max_replicas", "target_requests"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise UsageError(f"min_replicas: expected 0 to max_replicas ({self.max_replicas}), got {self.min_replicas}")

    @staticmethod
    def parse(arguments: Mapping[str, Any]) -> "RayOptions":
        """Options from names and values, which are texts on the command line.

        Raises:
            UsageError: A name is unknown, or a value is invalid.
        """
        kinds: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(RayOptions)}
        if unknown := set(arguments) - set(kinds):
            raise UsageError(f"{', '.join(sorted(unknown))}: unknown argument; expected {', '.join(kinds)}")
        try:
            return RayOptions(**{name: kinds[name](value) for name, value in arguments.items()})
        except ValueError as error:
            raise UsageError(f"arguments: expected whole numbers, got {dict(arguments)}") from error


def app(arguments: Mapping[str, Any]) -> serve.Application:
    """The application for `serve run` and `serve.run`.

    Args:
        arguments: Fields of `RayOptions` by name. The token is BLITZNET_TOKEN of the environment, if set.

    Raises:
        UsageError: An argument or the token is invalid.
    """
    options, token = RayOptions.parse(arguments), os.environ.get(TOKEN_VARIABLE)
    require_token(token, TOKEN_VARIABLE)
    if Path(options.model).exists():  # replicas have other working folders
        options = replace(options, model=str(Path(options.model).resolve()))

    @serve.deployment(
        name="blitznet",
        max_ongoing_requests=options.max_queue,
        ray_actor_options={"num_cpus": options.cpus},
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_requests,
        },
    )
    @serve.ingress(lambda: _make_replica(options, token))
    class Replica:
        """A server; its routes are those of `make_app`."""

    application: serve.Application = Replica.bind()  # type: ignore[attr-defined]
    return application


def _make_replica(options: RayOptions, token: str | None) -> Starlette:
    """The server of one replica, when it is warm."""
    predictor = load(options.model, engine=options.engine, threads=options.cpus)
    asgi = make_app(predictor, limits=ServeLimits(max_queue=options.max_queue), batch=options.batch, token=token)
    while not asgi.state.service.pool.ready:
        time.sleep(_POLL)
    return asgi
