"""EpochSampler: complete epochs, frequencies on average, the same sequence from every position."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.data.hash_split import in_hash_fraction
from blitznet.data.sources import open_sources
from blitznet.train.sampler import EpochSampler, SampleDraw, list_entries, repeat_factors
from support import synthetic_data


def make_sampler(count: int, frequencies: NDArray[np.float64] | None = None, seed: int = 3) -> EpochSampler:
    entries = np.stack([np.arange(count) % 2, np.arange(count) // 2], 1)
    return EpochSampler(entries, np.ones(count) if frequencies is None else frequencies, seed)


def test_epoch_is_a_permutation_of_all_samples() -> None:
    epochs = [make_sampler(101).epoch(number).tolist() for number in range(4)]
    assert all(sorted(epoch) == list(range(101)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert make_sampler(101, seed=4).epoch(0).tolist() != epochs[0]


def test_frequencies_hold_on_average() -> None:
    frequencies = np.array([1.0, 0.2, 2.5, 3.0, 0.75])
    counts = np.array([np.bincount(make_sampler(5, frequencies).epoch(number), minlength=5) for number in range(4000)])
    np.testing.assert_allclose(counts.mean(0), frequencies, atol=0.04)
    assert (np.abs(counts - frequencies) < 1).all()
    assert (counts[:, [0, 3]] == [1, 3]).all()


@pytest.mark.parametrize("start", [0, 1, 6, 7, 20, 33])
def test_draws_continue_from_every_position(start: int) -> None:
    sampler = make_sampler(5, np.array([1.0, 0.5, 1.5, 1.0, 2.2]))
    whole = list(islice(sampler.draws(), 60))
    assert list(islice(sampler.draws(start), 60 - start)) == whole[start:]
    assert len({draw.seed for draw in whole}) == 60


def test_draw_has_sample_and_seed() -> None:
    sampler = make_sampler(6)
    first = next(sampler.draws())
    row = sampler.epoch(0)[0]
    assert first == SampleDraw(int(row % 2), int(row // 2), (3, 0, 0))
    assert next(sampler.draws(6)).seed == (3, 1, 0)


def test_repeat_factors_by_hand() -> None:
    occurrence = np.zeros((100, 3), np.bool_)
    occurrence[:50, 0] = True  # frequency 0.5
    occurrence[48:52, 1] = True  # 0.04
    occurrence[99, 2] = True  # 0.01
    factors = repeat_factors(occurrence, 0.16)
    np.testing.assert_allclose(factors[:48], 1)
    np.testing.assert_allclose(factors[48:52], 2)
    np.testing.assert_allclose(factors[52:99], 1)
    np.testing.assert_allclose(factors[99], 4)


def test_list_entries_leaves_out_held_out_and_named_samples(tmp_path: Path) -> None:
    texts = [synthetic_data.write_voc(tmp_path / name, synthetic_data.draw(40)) for name in "ab"]
    datasets = open_sources(texts, synthetic_data.NAMES)
    assert len(list_entries(datasets, 0.0)) == 80
    remaining = list_entries(datasets, 0.5)
    assert {(number, index) for number, index in remaining.tolist()} == {
        (number, index)
        for number, dataset in enumerate(datasets)
        for index in range(40)
        if not in_hash_fraction(dataset.ids[index], 0.5)
    }
    rest = list_entries(datasets, 0.0, {(texts[1], "toy_0003"), (texts[0], "toy_0000")}).tolist()
    assert len(rest) == 78
    assert [1, 3] not in rest
    assert [0, 3] in rest
    assert list_entries([], 0.0).shape == (0, 2)
