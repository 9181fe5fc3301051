"""Select a fixed fraction of samples by a hash of their ids."""

import hashlib

from blitznet.core.sample import Dataset, Subset


def in_hash_fraction(key: str, fraction: float) -> bool:
    """Whether a key is in the selected fraction 0..1 of all keys.

    The selection depends on nothing but the key; a larger fraction contains every key of a smaller one.

    Args:
        key: Id of a sample, with a prefix if several selections must be independent.
        fraction: 0..1.
    """
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
    return digest < fraction * 2**32


def held_out(dataset: Dataset, fraction: float) -> Subset:
    """The samples that training with `--holdout FRACTION` leaves out."""
    return Subset(dataset, [index for index, key in enumerate(dataset.ids) if in_hash_fraction(key, fraction)])
