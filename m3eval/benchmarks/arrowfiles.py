"""Files of columns, .parquet and .arrow: their rows, of which those that are passed by stay arrays.

pyarrow unpacks them, since where shards end depends on the lengths of texts. A row group cannot be
left out for that reason; its strings and rows are made only for who asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from m3eval.errors import UserError
from m3eval.files import regular
from m3eval.oserrors import pass_on
from m3eval.textfiles import Choose, Fields, Row, Unparsed, all_fields, damaged

BUFFER = 2**20  # bytes of a parquet file's column that are read ahead
AT_ONCE = 1024  # rows in memory at a time


def parquet_rows(
    path: Path, columns: Sequence[str], published: bool = False, at_once: int = AT_ONCE
) -> Iterator[Row]:
    """The rows of a parquet file.

    Args:
        path: the file.
        columns: the names of those to read; a field of a nested column is named like
            ``document.text``.
        published: whether it came from the hub.
        at_once: the number of rows in memory at a time.
    """
    found = unparsed_parquet(path, published, lambda _: Fields(columns), at_once)
    return (row() for _, row, _ in found)


def unparsed_parquet(
    path: Path, published: bool = False, choose: Choose = all_fields, at_once: int = AT_ONCE
) -> Iterator[Unparsed]:
    """The rows of a parquet file.

    pyarrow reads them and not `datasets`, which needs three times the memory, five times as long,
    and holds a whole row group, of a million rows perhaps, unless it is told otherwise.

    Raises:
        UserError: the file is missing or damaged.
    """
    import pyarrow.parquet

    # By default a column of a row group, which may be all texts there are, is read at once.
    how = {"buffer_size": BUFFER, "pre_buffer": False}
    with _reading(path, published), pyarrow.parquet.ParquetFile(regular(path), **how) as file:
        names = file.schema_arrow.names
        wanted = choose(names)
        columns = None if wanted.read == names else [*wanted.read]
        batches = file.iter_batches(batch_size=at_once, columns=columns)
        yield from _of_batches(path, batches, wanted.counted, published)


def unparsed_arrow(
    path: Path, published: bool = False, choose: Choose = all_fields
) -> Iterator[Unparsed]:
    """The rows of an Arrow file that `datasets` wrote, mapped into memory; raises as the above."""
    import datasets

    with _reading(path, published):
        mapped = datasets.Dataset.from_file(str(regular(path))).with_format("arrow")
        wanted = choose(mapped.column_names)
        tables = mapped.select_columns([*wanted.read]).iter(batch_size=AT_ONCE)
        batches = (batch for table in tables for batch in table.to_batches())
        yield from _of_batches(path, batches, wanted.counted, published)


@contextmanager
def _reading(path: Path, published: bool) -> Iterator[None]:
    """Raises UserError where a file cannot be read."""
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    # Strings that are no UTF-8 are found by Python.
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        pass_on(error)
        raise damaged(path, error, published) from error


def _of_batches(
    path: Path, batches: Iterable[Any], counted: Sequence[str], published: bool
) -> Iterator[Unparsed]:
    before = 0
    for found in batches:
        columns = zip(found.schema.names, map(_Column.of, found.columns), strict=True)
        batch = _Batch(path, published, before, dict(columns))
        for i, size in enumerate(batch.sizes(found.num_rows, counted)):
            yield size, partial(batch.row, i), partial(batch.raw, i)
        before += found.num_rows


@dataclass(frozen=True)
class _Column:
    """A column of a few rows, of which values are made one by one."""

    values: Any  # pyarrow's array
    texts: Any = None  # the same as large_string; None: they are no strings

    @classmethod
    def of(cls, values: Any) -> _Column:
        import pyarrow
        from pyarrow import types

        kind = values.type.value_type if types.is_dictionary(values.type) else values.type
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            return cls(values, values.cast(pyarrow.large_string()))
        return cls(values)

    def lengths(self) -> list[int]:
        """Characters of each text; 0 where there is none."""
        import pyarrow.compute

        if self.texts is None:
            return [0] * len(self.values)
        lengths = pyarrow.compute.utf8_length(self.texts).fill_null(0)
        return lengths.to_numpy(zero_copy_only=False).tolist()

    @cached_property
    def _bytes(self) -> tuple[list[int], memoryview, list[bool]]:
        """Where each text begins and the last ends, their bytes, and whether each is there."""
        _, offsets, data = self.texts.buffers()
        first, n = self.texts.offset, len(self.texts)
        bounds = memoryview(offsets).cast("q")[first : first + n + 1]
        return bounds.tolist(), memoryview(data or b""), self.texts.is_valid().to_pylist()

    def value(self, i: int) -> Any:
        """A value as Python has it. `as_py` takes four times as long to make a string."""
        if self.texts is None:
            return self.values[i].as_py()
        bounds, data, there = self._bytes
        return str(data[bounds[i] : bounds[i + 1]], "utf-8") if there[i] else None

    def raw(self, i: int) -> bytes:
        """The bytes that a value is made of, with their number."""
        if self.texts is None:
            found = repr(self.values[i].as_py()).encode()
            return len(found).to_bytes(8) + found
        bounds, data, there = self._bytes
        if not there[i]:
            return b"\xff" * 8
        return (bounds[i + 1] - bounds[i]).to_bytes(8) + data[bounds[i] : bounds[i + 1]]


@dataclass(frozen=True)
class _Batch:
    """A few rows of a file."""

    path: Path
    published: bool
    before: int  # rows of the file before them
    columns: dict[str, _Column]

    @cached_property
    def name(self) -> str:
        """The file's, as messages have it."""
        return str(self.path)

    def sizes(self, rows: int, counted: Sequence[str]) -> list[int]:
        """The characters of the columns that count, of each row."""
        if not counted:
            return [0] * rows
        return [*map(sum, zip(*(self.columns[name].lengths() for name in counted), strict=True))]

    def row(self, i: int) -> Row:
        """A row: its place and its fields by name. Raises UserError: a text is no UTF-8."""
        try:
            made = {name: column.value(i) for name, column in self.columns.items()}
        except Exception:
            with _reading(self.path, self.published):
                raise
        return f"{self.name}, row {self.before + i + 1}", made

    def raw(self, i: int) -> bytes:
        """All that a row is made of."""
        return b"".join(column.raw(i) for column in self.columns.values())
