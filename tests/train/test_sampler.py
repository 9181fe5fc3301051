"""The order of samples: whole epochs, honest shares, the same from everywhere."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.data.sources import open_sources
from blitznet.train.sampler import EpochSampler, SampleDraw, entries_of, held_out, repeat_factors
from support import synthetic_data


def stream(count: int, shares: NDArray[np.float64] | None = None, seed: int = 3) -> EpochSampler:
    entries = np.stack([np.arange(count) % 2, np.arange(count) // 2], 1)
    return EpochSampler(entries, np.ones(count) if shares is None else shares, seed)


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    epochs = [stream(101).epoch(number).tolist() for number in range(4)]
    assert all(sorted(epoch) == list(range(101)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert stream(101, seed=4).epoch(0).tolist() != epochs[0]


def test_shares_are_kept_on_average() -> None:
    shares = np.array([1.0, 0.2, 2.5, 3.0, 0.75])
    counts = np.array([np.bincount(stream(5, shares).epoch(number), minlength=5) for number in range(4000)])
    np.testing.assert_allclose(counts.mean(0), shares, atol=0.04)
    assert (np.abs(counts - shares) < 1).all()
    assert (counts[:, [0, 3]] == [1, 3]).all()


@pytest.mark.parametrize("start", [0, 1, 6, 7, 20, 33])
def test_the_stream_is_the_same_from_every_position(start: int) -> None:
    made = stream(5, np.array([1.0, 0.5, 1.5, 1.0, 2.2]))
    whole = list(islice(made.draws(), 60))
    assert list(islice(made.draws(start), 60 - start)) == whole[start:]
    assert len({draw.seed for draw in whole}) == 60


def test_draws_name_samples_and_seeds() -> None:
    made = stream(6)
    first = next(made.draws())
    row = made.epoch(0)[0]
    assert first == SampleDraw(int(row % 2), int(row // 2), (3, 0, 0))
    assert next(made.draws(6)).seed == (3, 1, 0)


def test_repeat_factors_by_hand() -> None:
    presence = np.zeros((100, 3), np.bool_)
    presence[:50, 0] = True  # frequency 0.5
    presence[48:52, 1] = True  # 0.04
    presence[99, 2] = True  # 0.01
    factors = repeat_factors(presence, 0.16)
    np.testing.assert_allclose(factors[:48], 1)
    np.testing.assert_allclose(factors[48:52], 2)
    np.testing.assert_allclose(factors[52:99], 1)
    np.testing.assert_allclose(factors[99], 4)


def test_a_share_is_held_out_for_good() -> None:
    names = [f"2007_{k:06d}" for k in range(5000)]
    tenth = {name for name in names if held_out(name, 0.1)}
    fifth = {name for name in names if held_out(name, 0.2)}
    assert abs(len(tenth) - 500) < 70
    assert abs(len(fifth) - 1000) < 90
    assert tenth < fifth
    assert not any(held_out(name, 0.0) for name in names)
    assert {name for name in names[:20] if held_out(name, 0.2)} == {n for n in names[:20] if n in fifth}


def test_entries_leave_out_what_is_held_out_or_named(tmp_path: Path) -> None:
    texts = [synthetic_data.write_voc(tmp_path / name, synthetic_data.draw(40)) for name in "ab"]
    datasets = open_sources(texts, synthetic_data.NAMES)
    assert len(entries_of(datasets, 0.0)) == 80
    kept = entries_of(datasets, 0.5)
    assert {(number, index) for number, index in kept.tolist()} == {
        (number, index)
        for number, dataset in enumerate(datasets)
        for index in range(40)
        if not held_out(dataset.ids[index], 0.5)
    }
    rest = entries_of(datasets, 0.0, {(texts[1], "toy_0003"), (texts[0], "toy_0000")}).tolist()
    assert len(rest) == 78
    assert [1, 3] not in rest
    assert [0, 3] in rest
    assert entries_of([], 0.0).shape == (0, 2)
