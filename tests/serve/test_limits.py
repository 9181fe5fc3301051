from dataclasses import fields

import pytest

from blitznet.core.errors import UsageError
from blitznet.serve.limits import ServeLimits


@pytest.mark.parametrize("name", [field.name for field in fields(ServeLimits)])
@pytest.mark.parametrize("value", [0, -1, float("inf")])
def test_limits_must_be_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected more than 0, got {value}"):
        ServeLimits(**{name: value})  # type: ignore[arg-type]


def test_max_images_fits_into_the_queue() -> None:
    with pytest.raises(UsageError, match=r"max_images: expected at most max_queue \(64\), got 65"):
        ServeLimits(max_images=65)
    assert ServeLimits(max_images=20, max_queue=20).images_per_request == 20


@pytest.mark.parametrize(("max_queue", "expected"), [(4, 4), (16, 16), (64, 16)])
def test_max_images_defaults_to_16_or_the_queue(max_queue: int, expected: int) -> None:
    limits = ServeLimits(max_queue=max_queue)
    assert limits.images_per_request == limits.to_dict()["max_images"] == expected
