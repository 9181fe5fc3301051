"""Names of splits: tools call the evaluation split val, valid or validation."""

from collections.abc import Iterable

_ALIASES = (("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing"))


def split_aliases(split: str) -> tuple[str, ...]:
    """The name itself, and then the other names of the same split."""
    others = next((names for names in _ALIASES if split.lower() in names), ())
    return tuple(dict.fromkeys([split, *others]))


def find_split(split: str, available: Iterable[str]) -> str | None:
    """The available split that a name means, in any case; None if there is none. COCO's `train2017` is for training."""
    names = list(available)
    aliases = split_aliases(split)
    exact = next((name for name in aliases if name in names), None)
    if exact is not None:
        return exact
    lower = {name.lower(): name for name in reversed(names)}
    without_year = {name.lower().rstrip("0123456789"): name for name in reversed(names)}
    lower_aliases = [name.lower() for name in aliases]
    return next((table[name] for table in (lower, without_year) for name in lower_aliases if name in table), None)


def is_split_name(name: str) -> bool:
    """Whether a folder of this name is a split."""
    return any(name.lower().rstrip("0123456789") in names for names in _ALIASES)
