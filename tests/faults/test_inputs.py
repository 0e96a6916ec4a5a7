"""Bad corpora, queries, judgements, answers, settings: refused with file and line, or understood.

Cases come from a grammar (every value in every field) and from a list by hand. None may end with a
traceback, a signal, or a number that is not finite.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import hypothesis.strategies as st
import pytest

from m3eval.benchmarks.formats import read_answers, read_documents, read_queries
from m3eval.benchmarks.qrels import read_qrels
from m3eval.errors import UserError

CLASS = "bad inputs"
SHARES = 12  # of the cases; the first is the quick one
slow = pytest.mark.slow
MEMORY = 12_000_000_000  # bytes of address space: torch alone maps some

GOOD = {
    "corpus.jsonl": [
        '{"docid": "d1", "title": "Tides", "text": "the moon pulls the ocean"}',
        '{"docid": "d2", "title": "Yeast", "text": "bread rises with yeast"}',
        '{"docid": "d3", "title": "", "text": "iron rusts in wet air"}',
    ],
    "queries.tsv": ["q1\twhat pulls the ocean", "q2\twhy does bread rise"],
    "qrels.tsv": ["q1 0 d1 1", "q2 0 d2 2"],
    "answers.jsonl": ['{"qid": "q1", "answers": ["moon"]}', '{"qid": "q2", "answers": ["yeast"]}'],
}


class Case(NamedTuple):
    """A corpus with something odd in it."""

    file: str
    what: str
    make: Callable[[Path], object]  # changes the good folder
    refused: bool | None  # None: whether it is refused or understood is open


# Every kind of JSON value, as it is written; whether a text, a title, an id and answers may be it.
VALUES = {
    "null": (False, True, False, False),
    "NaN": (False, True, False, False),
    "Infinity": (False, False, False, False),
    "-1e999": (False, False, False, False),
    "true": (False, False, False, False),
    "0": (False, False, True, False),
    "1.5": (False, False, False, False),
    "9" * 5000: (False, False, False, False),
    "[]": (False, False, False, None),
    '["a", "b"]': (False, False, False, True),
    "[[]]": (False, False, False, False),
    "[null]": (False, False, False, False),
    '[""]': (False, False, False, False),
    "[1.5]": (False, False, False, False),
    "{}": (False, False, False, False),
    '{"a": {"b": []}}': (False, False, False, False),
    '""': (True, True, False, False),
    '"  "': (True, True, False, False),
    '"a b"': (True, True, False, False),
    '"a\\tb"': (True, True, False, False),
    '"a\\nb"': (True, True, False, False),
    '"\\u0000"': (False, False, False, False),
    '"\\ud83d"': (False, False, False, False),
    '"\\u202e\\u2028"': (True, True, None, False),
    "[" * 20000: (False, False, False, False),
    "[" * 20000 + "]" * 20000: (False, False, False, False),
    '"' + "x" * 300000 + '"': (True, True, None, False),
    "'a'": (False, False, False, False),
    "": (False, False, False, False),
    "undefined": (False, False, False, False),
}


def written(file: str, lines: list[str | bytes], end: bytes = b"\n") -> Callable[[Path], object]:
    content = b"".join((line if isinstance(line, bytes) else line.encode()) + end for line in lines)
    return lambda folder: (folder / file).write_bytes(content)


def from_grammar() -> Iterator[Case]:
    """Every value in every field of every file of JSON."""
    for value, allowed in VALUES.items():
        shown = value if len(value) < 30 else f"{value[:12]}... of {len(value)}"
        rows = {
            ("corpus.jsonl", "text"): f'{{"docid": "d4", "title": "a", "text": {value}}}',
            ("corpus.jsonl", "title"): f'{{"docid": "d4", "title": {value}, "text": "a"}}',
            ("corpus.jsonl", "docid"): f'{{"docid": {value}, "title": "a", "text": "a"}}',
            ("answers.jsonl", "answers"): f'{{"qid": "q1", "answers": {value}}}',
        }
        for (file, field), ok in zip(rows, allowed, strict=True):
            row = rows[file, field]
            lines = [*GOOD[file][1:], row] if file == "answers.jsonl" else [*GOOD[file], row]
            refused = None if ok is None else not ok
            yield Case(file, f"{field}: {shown}", written(file, lines), refused)
        queries = ['{"qid": "q1", "text": "moon"}', f'{{"qid": "q2", "text": {value}}}']

        def instead(folder: Path, queries: list[str] = queries) -> None:
            (folder / "queries.tsv").unlink()
            written("queries.jsonl", list(queries))(folder)

        yield Case("queries.jsonl", f"text: {shown}", instead, not allowed[0])


LINES: dict[str, list[tuple[str | bytes, bool | None]]] = {
    "corpus.jsonl": [
        ("[]", True),
        ("null", True),
        ('"text"', True),
        ("{", True),
        ('{"docid": "d4"}', True),
        ('{"text": "a"}', True),
        ('{"docid": "d4", "text": "a"} {}', True),
        ('{"docid": "d1", "text": "again"}', True),
        ('{"docid": "d4", "docid": "d5", "text": "a"}', True),
        ('{"docid": "d4", "text": "a", "metadata": {"x": [1]}}', False),
        ('{"_id": "d4", "text": "a"}', False),
        ('{"id": 4, "text": "a"}', False),
        (b'{"docid": "d4", "text": "\xff"}', True),
        (b'{"docid": "d4", "text": "\xed\xa0\xbd"}', True),
        (b"\xef\xbb\xbf" + b'{"docid": "d4", "text": "a"}', True),
        (b"\0" * 100, True),
        (b'{"docid": "d4",\r"text": "a"}', True),
        ("x" * 1_000_000, True),
        (b'{"docid": "d4", "text": "' + b"x" * 33_000_000 + b'"}', True),
        ("", False),
        ("   ", None),
        ('{"docid": "d\u00e9\u4e2d", "text": "a"}', False),
        ('{"docid": "../../d", "text": "a"}', False),
        ('{"docid": "d\u00a04", "text": "a"}', True),
        ('{"docid": "d\u20284", "text": "a"}', True),
    ],
    "queries.tsv": [
        ("q3", True),
        ("q3 no tab", True),
        ("\tno id", True),
        ("q1\tagain", True),
        ("q 3\tmoon", True),
        ("q3\t", None),
        ("q3\ta\tb", None),
        (b"q3\t\xff", True),
        (b"q3\t\0", True),
        ("q3\t" + "x" * 2_000_000, None),
        ("q3\t\u202e\u200f", None),
        ("nan\tmoon", False),
        ("-1\tmoon", False),
        ("q\u00a03\tmoon", True),
    ],
    "qrels.tsv": [
        ("q1", True),
        ("q1 d1", True),
        ("q1 0 d2", True),
        ("q1 0 d2 1 1", True),
        ("q1 0 d2 1.5", True),
        ("q1 0 d2 nan", True),
        ("q1 0 d2 inf", True),
        ("q1 0 d2 -inf", True),
        ("q1 0 d2 1e3", True),
        ("q1 0 d2 1000000000", True),
        ("q1 0 d2 -1000000000", True),
        ("q1 0 d2 " + "9" * 5000, True),
        ("q1 0 d2 0x1", True),
        ("q1 0 d2 1_0", True),
        ("q1 0 d2 \uff11", True),
        ("q1 0 d2 \u0661", True),
        ("q1 0 d2 one", True),
        ("q1 0 d2 true", True),
        ("q1 0 d2 --1", True),
        ("q1 0 d2 1.", False),
        ("q1 0 d2 1.0", False),
        ("q1 0 d2 +1", False),
        ("q1 0 d2 -1", False),
        ("q1 0 d1 1", False),
        ("q1 0 d1 2", True),
        (b"q1 0 d2 1\0", True),
        (b"q1 0 d\xff 1", True),
        ("q1\td2\t1", True),
        ("q1\t0\td 2\t1", True),
        ("query-id corpus-id score", True),
        ("x" * 1_000_000, True),
    ],
}


def by_hand() -> Iterator[Case]:
    """Lines among good ones, and whole files."""
    for file, lines in LINES.items():
        for line, refused in lines:
            shown = repr(line if len(line) < 50 else line[:30])
            yield Case(file, f"line {shown}", written(file, [*GOOD[file], line]), refused)
    for line in ("q1 d1", "q1 d1 1 1 1", "a b c", "query d1 x", "q1 0 d1 1.5"):
        yield Case(
            "qrels.tsv",
            f"first line {line}",
            written("qrels.tsv", [line, *GOOD["qrels.tsv"]]),
            True,
        )
    for file in GOOD:
        yield from whole_files(file)


def whole_files(file: str) -> Iterator[Case]:
    """Something that is no such file, in its place."""
    good = "".join(f"{line}\n" for line in GOOD[file]).encode()

    def content(data: bytes) -> Callable[[Path], object]:
        return lambda folder: (folder / file).write_bytes(data)

    def replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda folder: ((folder / file).unlink(), make(folder / file))

    def zipped(data: bytes, keep: bool = False) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            if not keep:
                (folder / file).unlink()
            (folder / f"{file}.gz").write_bytes(data)

        return make

    packed = gzip.compress(good)
    whole: list[tuple[str, Callable[[Path], object], bool | None]] = [
        ("empty", content(b""), True),
        ("blank lines only", content(b"\n\n\r\n"), True),
        ("a byte order mark only", content(b"\xef\xbb\xbf"), True),
        ("with a byte order mark", content(b"\xef\xbb\xbf" + good), False),
        ("with carriage returns", content(good.replace(b"\n", b"\r\n")), False),
        ("without a last line end", content(good.rstrip(b"\n")), False),
        ("old Mac's line ends", content(good.replace(b"\n", b"\r")), True),
        ("UTF-16", content(good.decode().encode("utf-16")), True),
        ("UTF-16 without a mark", content(good.decode().encode("utf-16-le")), True),
        ("UTF-32", content(good.decode().encode("utf-32")), True),
        ("gzip under its plain name", content(packed), True),
        ("a zip archive", content(b"PK\x03\x04" + b"\0" * 30), True),
        ("random bytes", content(random.Random(0).randbytes(500)), True),
        ("removed", replaced(lambda path: None), True),
        ("a folder", replaced(lambda path: path.mkdir()), True),
        ("a pipe", replaced(lambda path: os.mkfifo(path)), True),
        ("a device", replaced(lambda path: path.symlink_to("/dev/zero")), True),
        ("a link to nothing", replaced(lambda path: path.symlink_to("nowhere")), True),
        ("a link to itself", replaced(lambda path: path.symlink_to(path)), True),
        ("compressed", zipped(packed), False),
        ("compressed and cut", zipped(packed[:-9]), True),
        ("compressed and damaged", zipped(packed[:30] + b"\0\0\0" + packed[33:]), True),
        ("compressed in name only", zipped(good), True),
        ("both plain and compressed", zipped(packed, keep=True), True),
    ]
    for what, make, refused in whole:
        yield Case(file, what, make, refused)


def write(folder: Path, case: Case) -> None:
    """The good folder, and what a case changes."""
    folder.mkdir(parents=True)
    for file, lines in GOOD.items():
        (folder / file).write_text("".join(f"{line}\n" for line in lines))
    case.make(folder)


def scores(output: Path) -> list[float]:
    """All numbers in the scores of a result."""
    found = json.loads(next(output.rglob("scores.json")).read_text())["scores"]
    return [v for by_name in found.values() for row in by_name.values() for v in row.values()]


CASES = [*from_grammar(), *by_hand()]


@pytest.mark.parametrize(
    "share", [pytest.param(i, marks=[slow] if i else []) for i in range(SHARES)]
)
def test_odd_files(world, place, tally, share):
    for number, case in enumerate(CASES[share::SHARES]):
        with tally.case(f"{case.file}: {case.what}"):
            root, output = place / str(number) / "en", place / f"{number}out"
            write(root, case)
            answers = case.file == "answers.jsonl"
            words = [f"benchmark.root={root.parent}", "retriever=[bm25s]"]
            words += ["benchmark.judged_by=answers", "benchmark.metrics=[R@100]"] if answers else []
            ended = world.run("run", output, *words, limits={"RLIMIT_AS": MEMORY})
            assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
            if case.refused is not None:
                assert ended.status == (2 if case.refused else 0), str(ended)
            if ended.status == 2:
                said = ended.out.partition("Error: ")[2]
                stem = case.file.partition(".")[0]
                assert stem in said and "fetch it again" not in said, str(ended)
                assert len(said) < 3000, str(ended)
            else:
                assert all(map(math.isfinite, scores(output))), str(ended)
    tally.verdict()


# Settings that a value is put into, and values that are of another kind or out of range.
SETTINGS = [
    "languages",
    "representations",
    "output_dir",
    "overwrite",
    "plan_only",
    "tolerance",
    "benchmark.root",
    "benchmark.name",
    "benchmark.label",
    "benchmark.split",
    "benchmark.judged_by",
    "benchmark.corpus",
    "benchmark.subset",
    "benchmark.metrics",
    "benchmark.text.document_fields",
    "benchmark.text.joint",
    "benchmark.text.max_query_length",
    "benchmark.text.max_document_length",
    "benchmark.retrieval.depth",
    "benchmark.retrieval.rerank_depth",
    "encoder.name",
    "encoder.label",
    "store.dense.dimensions",
    "store.dense.type",
    "store.multi_vector.limit_gb",
    "runtime.device",
    "runtime.precision",
    "runtime.engine",
    "runtime.processes",
    "runtime.threads",
    "runtime.token_budget",
    "runtime.shard_size",
    "runtime.search_block",
    "runtime.vector_cache_gb",
    "runtime.java_heap",
    "retriever",
    "retriever.dense.depth",
    "retriever.all.weights.dense",
    "retriever.all.weights.sparse",
    "retriever.all.weights",
    "retriever.multi_vector.inputs",
    "retriever.sparse.engine",
    "retriever.sparse.quantise",
    "retriever.bm25s.k1",
    "retriever.bm25s.b",
    "retriever.bm25s.method",
    "retriever.bm25s.stemmer",
]
ODD = [
    *(
        "nan",
        ".nan",
        "inf",
        "-1",
        "0",
        "1e999",
        "9" * 400,
        "1.5",
        "ten",
        "true",
        "no",
        "null",
        "''",
    ),
    *(
        "[]",
        "[[]]",
        "{}",
        "{a: 1}",
        "[a,b]",
        "../../evil",
        "a/b",
        "..",
        "/",
        "a b",
        "\u0661",
        "x" * 300,
    ),
    *(
        "${oc.env:HOME}",
        "${languages}",
        "${nothing}",
        "???",
        "'",
        "[",
        "a=b",
        "\u202e",
        "@",
        "!!x",
        "&a",
    ),
]


@pytest.mark.parametrize("share", [pytest.param(i, marks=[slow] if i else []) for i in range(10)])
def test_odd_settings(world, place, tally, share):
    """A sample of all settings and values, the same every time."""
    pairs = random.Random(12).sample([*itertools.product(SETTINGS, ODD)], 400)
    for setting, value in pairs[share::10]:
        with tally.case(f"{setting}={value[:30]}"):
            output = place / "out"
            words = [f"{setting}={value}", "plan_only=true"]
            ended = world.run("embed", output, *dict.fromkeys(words), cwd=place)
            assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
            # Nothing is written but there, whatever names say.
            assert not (place.parent / "evil").exists() and not (place / "evil").exists()
            assert len(ended.out) < 6000, str(ended)
            shutil.rmtree(output, ignore_errors=True)
    tally.verdict()


BYTES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["docid", "_id", "id", "qid", "text", "title", "answers", "x"]),
                inner,
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.lists(
        st.sampled_from(["q1", "d1", "0", "1", "-1", "1.0", "nan", "\t", " ", "\ufeff", "\r"])
    ).map(lambda parts: " ".join(parts).encode()),
)
READERS: dict[str, Callable[[Path], object]] = {
    "corpus.jsonl": lambda path: list(read_documents(path)),
    "queries.jsonl": read_queries,
    "queries.tsv": read_queries,
    "qrels.tsv": read_qrels,
    "answers.jsonl": read_answers,
    "corpus.jsonl.gz": lambda path: list(read_documents(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_of_any_bytes(tmp_path, tally, name):
    """Rows, or one sentence with the file: whatever the bytes are."""
    path = tmp_path / name

    @hypothesis.settings(
        max_examples=150,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[*hypothesis.HealthCheck],
    )
    @hypothesis.given(st.lists(BYTES, min_size=1, max_size=4))
    def read(lines: list[bytes]) -> None:
        path.write_bytes(b"\n".join(lines))
        tally.cases += 1
        try:
            READERS[name](path)
        except UserError as error:
            assert str(path) in str(error)

    read()
