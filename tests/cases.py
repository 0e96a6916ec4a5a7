"""Small benchmarks of which each is odd in one thing, as files.

`write(folder, "bom_qrels")` makes one; tests/test_cases.py says what each must give.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

TEXTS = {
    "d1": ("Tides", "the moon pulls the ocean and makes tides"),
    "d2": ("Bread", "yeast makes bread dough rise in the oven"),
    "d3": ("Trains", "steam trains crossed the mountain pass in winter"),
    "d4": ("Bees", "bees carry pollen from flower to flower"),
}
CORPUS = [{"_id": docid, "title": title, "text": text} for docid, (title, text) in TEXTS.items()]
QUERIES = "q1\twhat makes the ocean tides\nq2\twhy does bread rise\nq3\twho carries pollen\n"
QRELS = "q1 0 d1 1\nq2 0 d2 1\nq3 0 d4 1\n"
HEADER = "query-id\tcorpus-id\tscore\n"

ODD_IDS = ["007", "7", "1e3", "nan", "null", "NA", 'd"1', "d'1", "d\\1", "d,1"]
ODD_IDS += ["https://x.y/z?a=b&c=#d", "문서1", "True", "-1"]
NOUNS = ["apple", "brick", "cloud", "dance", "eagle", "flame", "grape", "house"]
NOUNS += ["ivory", "jelly", "knife", "lemon", "mango", "north"]

MOSS = ["where does moss grow", "what bakes clay", "where do swallows nest"]
LEAK = [
    "moss grows on the north side of stones",
    "a kiln bakes clay at great heat",
    "swallows nest under the bridge",
    "salt keeps fish from spoiling",
    "clocks lose time when it is cold",
]


def rows(*documents: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents)


def plain(texts: dict[str, str]) -> str:
    return "".join(
        json.dumps({"docid": docid, "text": text}) + "\n" for docid, text in texts.items()
    )


def tsv(queries: dict[str, str]) -> str:
    return "".join(f"{qid}\t{text}\n" for qid, text in queries.items())


def trec(*judged: tuple[str, str]) -> str:
    return "".join(f"{qid} 0 {docid} 1\n" for qid, docid in judged)


def base(more: str = "", **files: str) -> dict[str, str]:
    """The case in which nothing is odd, with files in the place of its own."""
    own = {"corpus.jsonl": rows(*CORPUS) + more, "queries.tsv": QUERIES, "qrels.tsv": QRELS}
    return own | {name.replace("__", "/").replace("_tsv", ".tsv"): files[name] for name in files}


# Case -> files of its one language.
CASES: dict[str, dict[str, str]] = {
    "base": base(),
    "beir202": base(
        queries_tsv="".join(QUERIES.splitlines(True)[:2]), qrels_tsv=QRELS + "q9 0 d3 1\n"
    ),
    "qid_mismatch": base(
        queries_tsv="".join(f"{i}\t{line}\n" for i, line in enumerate(QUERIES.splitlines()))
    ),
    "docs_mismatch": base(qrels_tsv=QRELS.replace("d", "x")),
    "float_qrels_noheader": base(qrels_tsv="q1\td1\t1.0\nq2\td2\t1\nq3\td4\t1\n"),
    "bom_qrels": base(qrels_tsv="\ufeff" + QRELS),
    "nan_title": base(queries_tsv=QUERIES + "q4\tnan bread\n", qrels_tsv=QRELS + "q4 0 d2 1\n")
    | {"corpus.jsonl": rows(*CORPUS).replace('"Bees"', "NaN")},
    "null_text": base('{"_id":"d5","title":"x","text":null}\n'),
    "surrogate": base('{"_id":"d5","title":"","text":"cut emoji \\ud83d"}\n'),
    "split": base(qrels__dev_tsv=HEADER + "q1\td3\t1\n"),
    "neg_first": base(
        queries_tsv="q1\tthe moon and the bees carry pollen\n",
        qrels_tsv="q1 0 d4 -1\nq1 0 d1 2\nq1 0 d2 -2\n",
    ),
    "odd_ids": {
        "corpus.jsonl": rows(
            *(
                {"_id": key, "title": "", "text": f"{noun} stands alone in the field"}
                for key, noun in zip(ODD_IDS, NOUNS, strict=True)
            )
        ),
        "queries.tsv": tsv(
            {key: f"where is the {noun}" for key, noun in zip(ODD_IDS, NOUNS, strict=True)}
        ),
        "qrels.tsv": trec(*((key, key) for key in ODD_IDS)),
    },
    "empty_doc": base(
        '{"_id":"d5","title":"","text":""}\n{"_id":"d6","title":"","text":"  \\n "}\n',
        queries_tsv=QUERIES + "q4\t\n",
        qrels_tsv=QRELS + "q4 0 d3 1\n",
    ),
    "gz": {
        "corpus.jsonl.gz": rows(*CORPUS),
        "queries.tsv": QUERIES,
        "qrels.tsv": QRELS,
    },
    "only_header": base(qrels_tsv=HEADER),
    "query_header": base(
        queries_tsv="query-id\ttext\n" + QUERIES,
        qrels_tsv=HEADER + "q1\td1\t1\nq2\td2\t1\nq3\td4\t1\n",
    ),
    "ttest_const": {
        "corpus.jsonl": plain(
            {"a1": "kettles whistle", "a2": "zinc", "a3": "amber"}
            | {"b1": "lantern", "b2": "lanterns", "b3": "pewter"}
            | {"c1": "anchor", "c2": "anchor heavy", "c3": "anchors", "x": "velvet"}
        ),
        "queries.tsv": tsv({"q1": "kettle", "q2": "lantern", "q3": "anchor"}),
        "qrels.tsv": trec(
            *((f"q{i}", f"{c}{n}") for i, c in enumerate("abc", 1) for n in (1, 2, 3))
        ),
    },
    "leak_dev": {
        "corpus.jsonl": plain({f"d{i}": text for i, text in enumerate(LEAK, 1)}),
        "queries.tsv": tsv(
            {f"q{i}": text for i, text in enumerate(MOSS, 1)} | {"q9": "what keeps fish fresh"}
        ),
        "qrels.tsv": trec(("q1", "d1"), ("q2", "d2"), ("q3", "d3"), ("q9", "d4")),
    },
    "leak_test": {
        "corpus.jsonl": plain({f"d{i}": text for i, text in enumerate(LEAK, 1)}),
        "queries.tsv": tsv({f"q{i}": text for i, text in enumerate(MOSS, 1)}),
        "qrels.tsv": trec(("q1", "d1"), ("q2", "d2"), ("q3", "d3")),
    },
    "answers_zh": {
        "corpus.jsonl": rows(
            {"docid": "d1", "text": "中国的首都是北京，人口两千多万。"},
            {"docid": "d2", "text": "上海是最大的港口。"},
        ),
        "queries.tsv": "q1\t首都是哪里\n",
        "answers.jsonl": rows({"qid": "q1", "answers": ["北京"]}),
    },
    "gate_ctrl": {
        "corpus.jsonl": plain(
            {"d1\x01": "moss grows on stones", "d2": "a kiln bakes clay"}
            | {"d3": "swallows nest under the bridge", "a&b<c>\"'": "salt keeps fish"}
        ),
        "queries.tsv": tsv(
            {"q1\x0e": "where does moss grow", "q2": "clay kiln", "q3": "swallows nest"}
        ),
        "qrels.tsv": trec(("q1\x0e", "d1\x01"), ("q2", "d2"), ("q3", "d3")),
    },
    "bm25_novocab": {
        "corpus.jsonl": plain({"d1": "the of and", "d2": "... !", "d3": "it is"}),
        "queries.tsv": tsv({"q1": "the of", "q2": "walrus"}),
        "qrels.tsv": trec(("q1", "d1"), ("q2", "d2")),
    },
    "bm25_variants": {
        "corpus.jsonl": plain(
            {"d1": "quartz hums", "d2": "quartz glows", "d3": "quartz cracks", "d4": "felt hats"}
        ),
        "queries.tsv": tsv({"q1": "quartz", "q2": "felt", "q3": "velvet"}),
        "qrels.tsv": trec(("q1", "d1"), ("q2", "d4"), ("q3", "d2")),
    },
}


def language(case: str) -> str:
    """The one language of a case."""
    return "zh" if case.endswith("_zh") else "en"


def content(case: str) -> dict[str, bytes]:
    """What the files of a case hold, unpacked, by path."""
    return {f"{language(case)}/{name}": text.encode() for name, text in CASES[case].items()}


def write(folder: Path, case: str) -> Path:
    """Writes the files of a case below a folder; gives the benchmark's root."""
    for name, held in content(case).items():
        path = folder / case / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(held) if name.endswith(".gz") else held)
    return folder / case
