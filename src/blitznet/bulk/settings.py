"""What a run of bulk prediction computes: the model and the settings, and their hash in the names of parts."""

import dataclasses
import json
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, cast, get_args

from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT_MIN_SCORE
from blitznet.runtime.engine import EngineName

MaskFormat = Literal["class-map", "coco", "none"]
"""run lengths of the class map; COCO run lengths of each class; no masks"""

_ROWS_VERSION = 1
"""version of the rows in a part; a change of it makes new parts"""
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """Settings that change the rows of a part."""

    min_score: float = DEFAULT_MIN_SCORE
    """minimum score of detections, 0..1"""
    masks: MaskFormat = "class-map"
    engine: EngineName = "auto"
    """inference engine; resolved before parts are named"""
    tta: Literal["flip"] | None = None
    """test-time augmentation"""
    slices: tuple[int, int] | None = None
    """(rows, columns) of tiles for sliced inference"""
    image_column: str | None = None
    """column of Parquet files that contains the images; None: the first with binary values"""
    id_column: str | None = None
    """column of Parquet files whose values are the rows' ids; None: file and number of the row"""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"min_score: expected 0 to 1, got {self.min_score}")
        if self.masks not in get_args(MaskFormat):
            raise UsageError(f"masks: expected one of {', '.join(get_args(MaskFormat))}, got '{self.masks}'")

    def with_engine(self, name: str) -> "BulkSettings":
        """These settings with the engine that `auto` stands for."""
        return dataclasses.replace(self, engine=cast("EngineName", name))


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model of a run."""

    name: str
    """file name without its suffix"""
    sha256: str
    """hash of the file"""
    class_names: tuple[str, ...]


def identify_model(path: Path, class_names: tuple[str, ...]) -> ModelIdentity:
    """The name and hash of a model file."""
    with path.open("rb") as file:
        return ModelIdentity(path.stem, file_digest(file, "sha256").hexdigest(), class_names)


def short_hash(*values: Any) -> str:
    """The first digits of the SHA-256 hash of values, which are written as JSON."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def run_hash(model: ModelIdentity, settings: BulkSettings) -> str:
    """The hash of all that rows depend on beside their images."""
    return short_hash(_ROWS_VERSION, model.sha256, dataclasses.asdict(settings))
