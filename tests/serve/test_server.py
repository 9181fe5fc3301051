import resource

import pytest

from blitznet.serve.limits import ServeLimits
from blitznet.serve.server import connection_limit


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
