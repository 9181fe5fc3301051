import logging
import resource

import pytest
from starlette.exceptions import HTTPException

from blitznet.serve import server
from blitznet.serve.limits import ServeLimits
from blitznet.serve.payload import read_image
from blitznet.serve.server import connection_limit, set_up_logs


@pytest.mark.parametrize(
    ("files", "connections", "raised"),
    [
        ((256, 256), 160, 256),
        ((256, 400), 304, 400),
        ((256, 4096), 512, 608),
        ((1024, 1024), 512, 1024),
        ((50, 50), 8, 50),
        ((256, resource.RLIM_INFINITY), 512, 608),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 512, resource.RLIM_INFINITY),
    ],
)
def test_connections_stay_below_the_limit_of_open_files(
    files: tuple[int, int], connections: int, raised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = files

    def set_limit(_: int, limits: tuple[int, int]) -> None:
        nonlocal current
        current = limits

    monkeypatch.setattr(resource, "getrlimit", lambda _: current)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert connection_limit(ServeLimits()) == connections
    assert current == (raised, files[1])


def test_an_invalid_form_writes_nothing_to_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("blitznet.serve", "uvicorn.error", "blitznet.serve.access", "python_multipart"):
        for attribute in ("handlers", "propagate", "level"):  # restored afterwards
            monkeypatch.setattr(logging.getLogger(name), attribute, getattr(logging.getLogger(name), attribute))
    set_up_logs(access=False)
    with pytest.raises(HTTPException, match="expected a complete form"):
        read_image(b"no form", "multipart/form-data; boundary=XX")
    assert caplog.records == []


def test_connections_being_closed_fit_into_the_reserved_files() -> None:
    """Three turns of the event loop pass until an evicted connection is closed; libraries need files besides."""
    assert 3 * server._ACCEPTED_AT_ONCE + 32 <= server._RESERVED_FILES
