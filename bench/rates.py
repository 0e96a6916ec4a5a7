"""What each step past one machine takes, in CPU seconds: what `bench.simulation` reckons with.

    python -m bench.rates --data SHARED/data/miracl_tydi
    python -m bench.rates --data SHARED/data/miracl_tydi --documents 2000 --encoded 200

Documents are those of MIRACL's subset in four languages, repeated under other ids. They are read by
what stage 0 reads with (`stages.shards.missing`), by one process alone and by a share, handed over
as a process or a task is handed them, and written as BGE-M3's dense and sparse vectors would be.
The spread of shards is that of shards of `SHARD` documents each, encoded by `e5_small_q4`: seconds
of a shard over the mean of its language. Writes results/bench/rates.json.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.machine import machine
from bench.measure import ROOT, say
from bench.sparse import representations as sparse_vectors
from bench.stores import plan
from m3eval.benchmarks.formats import read_documents, unread_documents
from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.task import Corpus, Document
from m3eval.benchmarks.texts import TextRules, TextSet, document_texts
from m3eval.config import Setup, compose
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.layout import RunFiles, StoreFiles
from m3eval.retrievers.run import Run, merged, ranked, read_run, write_run
from m3eval.runtime import Share
from m3eval.stages.shards import Shard, cut, missing, raw_digest
from m3eval.stages.workers import settled
from m3eval.stores import checks
from m3eval.stores.shard_writer import ShardWriter
from m3eval.stores.writer import StoreWriter

RULES = TextRules()
LANGUAGES = ("en", "id", "ko", "sw")
SHARD = 100  # documents, of those that are encoded
WIDTH, TERMS = 1024, 120  # of BGE-M3's vectors
QUERIES, DEPTH, PARTS = 50, 1000, 4  # of the runs that are written, read and merged


@dataclass(frozen=True)
class Rates:
    """CPU seconds, unless said otherwise."""

    read: float  # a text, by a process alone: unpacked, parsed, counted and hashed
    own: float  # a text of its own shards, by a share
    passed: float  # a text of another share
    looked: float  # a text, when shares are merged
    handed: float  # a text, by whoever hands a shard to another process
    held: float  # bytes of memory of a text in a shard that is under way
    written: float  # a byte of a shard
    checked: float  # a byte of a shard that is there, before a run goes on
    finished: float  # a shard, when its store is finished
    tokenised: float  # tokens in a second
    line_written: float  # a line of the lists of a part
    line_merged: float  # a line that is read and merged
    spread: tuple[float, ...]  # seconds of shards of equally many texts, over their mean


def real(data: Path, language: str) -> list[Document]:
    """The documents of a language."""
    folder = data / "miracl/miracl-corpus" / f"miracl-corpus-v1.0-{language}"
    return list(read_documents(*sorted(folder.glob("docs-*.jsonl.gz"))))


def corpus(documents: list[Document], n: int, path: Path) -> TextSet:
    """A file of so many documents, and how stage 0 reads it."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, each in enumerate(itertools.islice(itertools.cycle(documents), n)):
            row = {"docid": f"{number}#0", "title": each.title, "text": each.text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    every, unread = partial(read_documents, path), partial(unread_documents, path)
    return document_texts(Corpus("xx", every, files=(path,), unread=unread), RULES)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the faster of two calls."""
    taken = []
    for _ in range(2):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def once(texts: TextSet, folder: Path, size: int, skipping: bool) -> tuple[TextSet, ShardWriter]:
    """A set that is read anew, as stage 0 and merge do, and where its shards go."""
    reading = ReadOnce(texts)
    writer = ShardWriter(StoreFiles(folder), replace(plan("xx", None, "dense"), shard_size=size))
    return replace(texts, lazy=partial(reading.items, skipping)), writer


def shards(texts: TextSet, folder: Path, size: int, share: Share | None) -> Iterator[Shard]:
    """The shards of a set, as stage 0 has them."""
    todo = once(texts, folder, size, share is not None)
    return missing([todo], share, lambda work, texts: None)


def memory(shard: Shard) -> float:
    """Bytes of a text of a shard, in the process that hands it over."""
    strings = [*shard.request.texts, *shard.request.ids]
    return (sum(map(sys.getsizeof, strings)) + 16 * len(strings)) / len(shard.request.texts)


def reading(texts: TextSet, n: int, folder: Path) -> dict[str, float]:
    """What reading and handing over take, of a text."""
    size = max(1, n // 20)

    def by(share: Share | None) -> float:
        return seconds(lambda: list(shards(texts, folder, size, share))) / n

    def looked() -> None:
        for _, chunk in cut(*once(texts, folder, size, skipping=True)):
            raw_digest(chunk, 0)

    with settled():  # as stage 0 and merge do
        one, tenth = by(Share(0, 1)), by(Share(0, 10))
        passed = (10 * tenth - one) / 9  # a tenth is its own
        shard = next(shards(texts, folder, size, None))
        handed = seconds(lambda: pickle.dumps(shard, pickle.HIGHEST_PROTOCOL)) / size
        return {
            "read": by(None),
            "own": one,
            "passed": passed,
            "looked": seconds(looked) / n,
            "handed": handed,
            "held": memory(shard),
        }


def storing(n: int, folder: Path) -> dict[str, float]:
    """What writing, checking and finishing take."""
    sparse = sparse_vectors(0, n, terms=TERMS, seed=1).sparse
    vectors = np.random.default_rng(1).standard_normal((n, WIDTH), dtype=np.float32)
    made = replace(plan("yy", n, "dense"), representations=["dense", "sparse"])
    writer = StoreWriter(folder / "large", made)
    large, ids = writer.start(), [f"{row}#0" for row in range(n)]
    numbers = itertools.count()
    write = seconds(
        lambda: large.write(next(numbers), ids, Representations(dense=vectors, sparse=sparse))
    )
    paths = writer.found.files.written_shards()
    size = sum(file.stat().st_size for file in paths[0].iterdir())
    others = iter(paths)  # a process looks at a file once
    check = seconds(lambda: checks.check_shard(next(others), ["dense", "sparse"]))
    several = 100
    small = StoreWriter(folder / "small", plan("zz", several, "dense"))
    start = small.start()
    for number in range(several):
        start.write(number, [f"{number}"], Representations(dense=vectors[:1]))
    started = time.process_time()
    small.finish()
    finish = (time.process_time() - started) / several
    return {"written": write / size, "checked": check / size, "finished": finish}


def lists(folder: Path) -> dict[str, float]:
    """What a line of a run of a part takes to write, and to read and merge."""
    rng = np.random.default_rng(1)

    def part(number: int) -> Run:
        docids = [f"{row}#{number}" for row in range(DEPTH)]
        return {
            str(query): ranked(docids, rng.random(DEPTH).astype(np.float32), DEPTH)
            for query in range(QUERIES)
        }

    parts = [part(number) for number in range(PARTS)]
    files = [RunFiles(folder / f"{number}.trec") for number in range(PARTS)]
    lines = QUERIES * DEPTH
    write = seconds(lambda: write_run(files[0], parts[0], "m3eval-dense")) / lines
    for each, run in zip(files, parts, strict=True):
        write_run(each, run, "m3eval-dense")
    merge = seconds(lambda: merged([read_run(each.trec) for each in files], DEPTH))
    return {"line_written": write, "line_merged": merge / (lines * PARTS)}


def encoding(documents: dict[str, list[Document]], n: int) -> tuple[float, tuple[float, ...]]:
    """Tokens that are tokenised in a second, and the spread of shards."""
    setup = Setup(compose("benchmark=demo", "encoder=e5_small_q4", "runtime.threads=1"))
    encoder, spread = setup.encoder, []
    tokens, taken = 0, 0.0
    for own in documents.values():
        texts = [RULES.text(each) for each in own[:n]]
        encoder.tokenize(Request(texts[:1], "document", SHARD))  # loads the tokeniser
        costs = []
        for start in range(0, len(texts), SHARD):
            limit = RULES.max_length("document")
            request = Request(texts[start : start + SHARD], "document", limit)
            started = time.process_time()
            tokens += int(encoder.tokenize(request).lengths.sum())
            taken += time.process_time() - started
            started = time.process_time()
            encoder.encode(request, Wanted(["dense"]))
            costs.append(time.process_time() - started)
        whole = costs[1:] if len(texts) % SHARD == 0 else costs[1:-1]  # the first loads the model
        spread += [cost / float(np.mean(whole)) for cost in whole]
    return tokens / taken, tuple(round(each, 4) for each in spread)


def measure(data: Path, n: int, encoded: int) -> Rates:
    """All rates."""
    documents = {language: real(data, language) for language in LANGUAGES}
    mixed = [each for group in zip(*documents.values(), strict=False) for each in group]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = corpus(mixed, n, folder / "docs-0.jsonl.gz")
        of_steps = reading(texts, n, folder) | storing(max(100, n // 20), folder) | lists(folder)
    tokenised, spread = encoding(documents, encoded)
    return Rates(**of_steps, tokenised=tokenised, spread=spread)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the mirror of the subset")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--encoded", type=int, default=1000, help="documents of each language")
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/rates.json")
    options = parser.parse_args()
    rates = measure(options.data, options.documents, options.encoded)
    for name, value in asdict(rates).items():
        say(f"{name}: {value}")
    write_json(
        options.output,
        {"documents": options.documents, "rates": asdict(rates), "machine": machine()},
    )


if __name__ == "__main__":
    main()
