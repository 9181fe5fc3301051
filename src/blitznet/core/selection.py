"""Evenly spaced selection from a list."""


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most `count` indices of a list of `length` items, evenly spaced, from 0."""
    count = min(length, count)
    return [index * length // count for index in range(count)]
