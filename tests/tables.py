"""The same rows as files of every format that corpora come in."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3eval import textfiles
from m3eval.benchmarks import arrowfiles, delimited

Rows = Sequence[dict[str, str]]
ROW_GROUP = 30  # rows, which no shard of the tests ends with


def _delimited(rows: Rows, quoting: int, mark: str) -> bytes:
    text = io.StringIO()
    quotes = {"quoting": quoting, "quotechar": None if quoting == csv.QUOTE_NONE else '"'}
    table = csv.DictWriter(text, [*rows[0]], delimiter=mark, lineterminator="\n", **quotes)
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def write(path: Path, rows: Rows) -> Path:
    """Writes rows, as the ending of the name says; in a .tsv file they have no tabs or lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=ROW_GROUP)
    elif name.endswith(".arrow"):
        import datasets

        beside = path.parent / "saved"
        datasets.Dataset.from_list(list(rows)).save_to_disk(str(beside))
        (saved,) = beside.glob("*.arrow")
        saved.rename(path)
        shutil.rmtree(beside)
    else:
        if name.endswith((".jsonl", ".json", ".ndjson")):
            content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        elif name.endswith(".tsv"):
            content = _delimited(rows, csv.QUOTE_NONE, "\t")
        else:
            content = _delimited(rows, csv.QUOTE_MINIMAL, ",")
        if path.suffix == ".gz":
            content = gzip.compress(content)
        elif path.suffix == ".zst":
            content = pa.compress(content, "zstd", asbytes=True)
        path.write_bytes(content)
    return path


def noting(monkeypatch) -> list[str]:
    """The places of the rows that any reader makes from now on, one for each time.

    A header is none, though it is cut into its fields, too.
    """
    places: list[str] = []

    def watch(owner, name, place) -> None:
        original = getattr(owner, name)

        def noted(*given):
            places.append(place(*given))
            return original(*given)

        monkeypatch.setattr(owner, name, noted)

    watch(textfiles, "json_object", lambda where, line: where)
    watch(delimited, "fields", lambda where, *_: where)
    watch(arrowfiles._Batch, "row", lambda batch, i: f"{batch.path}, row {batch.before + i + 1}")
    return places
