from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from blitznet.bulk.parquet import PartRow, PartSummary, PartWriter, read_summary


def write(path: Path, rows: int) -> None:
    writer = PartWriter(path, {"first": "a"})
    for number in range(rows):
        count = number % 3
        row = PartRow(
            f"image {number}",
            (4, 6),
            np.full((count, 4), number, np.float32),
            np.arange(count),
            np.full(count, 0.5, np.float32),
            ("cat",) * count,
            (np.array([0, 2]), np.array([20, 4])),
        )
        writer.write(PartRow(f"image {number}", error="broken") if number % 5 == 4 else row)
    writer.close()


@pytest.mark.parametrize("count", [0, 1, 256, 600])
def test_all_rows_are_in_the_file(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, count)
    file = pyarrow.parquet.ParquetFile(path)
    rows = file.read().to_pylist()
    assert [row["id"] for row in rows] == [f"image {number}" for number in range(count)]
    assert file.num_row_groups == -(-count // 256)
    for number, row in enumerate(rows):
        if number % 5 == 4:
            assert {name for name, value in row.items() if value is not None} == {"id", "error"}
        else:
            assert row["boxes"] == [[float(number)] * 4] * (number % 3)
            assert row["class_map"] == {"counts": [20, 4], "values": [0, 2]}
    with path.open("rb") as stream:
        assert read_summary(stream, "a") == PartSummary("a", count, count // 5, "a")


def test_a_file_is_the_same_each_time(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 300)
    write(tmp_path / "b.parquet", 300)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("length", [0, 10, 500, -1])
def test_a_part_of_a_file_has_no_summary(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, 20)
    path.write_bytes(path.read_bytes()[:length])
    with path.open("rb") as stream:
        assert read_summary(stream, "a") is None


def test_a_parquet_file_of_others_has_no_summary(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), path)
    with path.open("rb") as stream:
        assert read_summary(stream, "a") is None
