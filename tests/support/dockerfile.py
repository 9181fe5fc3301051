"""Instructions of a Dockerfile, read without a container engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction, with its continued lines joined."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The words of the JSON form."""
        words: list[str] = json.loads(self.value)
        return words


def read_stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage; a stage starts with FROM."""
    stages: list[list[Instruction]] = []
    for instruction in _instructions(path.read_text()):
        if instruction.name == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


def values(stage: list[Instruction], name: str) -> list[str]:
    """The values of all instructions of a name."""
    return [instruction.value for instruction in stage if instruction.name == name]


def _instructions(text: str) -> Iterator[Instruction]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines).strip()
        name, value = line.split(maxsplit=1)
        yield Instruction(name, value.strip())
