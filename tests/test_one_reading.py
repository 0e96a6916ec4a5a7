"""Stage 0 reads its texts once: what it makes, checks and keeps does not depend on how."""

from __future__ import annotations

import json
import shutil

import pytest

from m3eval.benchmarks import census
from m3eval.benchmarks.texts import TextRules
from m3eval.commands import merge
from m3eval.config import Setup, compose, tree
from m3eval.errors import UserError
from m3eval.files import sha256
from m3eval.layout import StoreFiles
from m3eval.manifests import ShardRecord, StoreManifest
from m3eval.records import plain, read, write
from m3eval.stages import embed, evaluate, search, shards
from m3eval.stores.found import plan_digest
from tests import tables
from tests.faults.world import CONF, World, differing, snapshot
from tests.needs import needs

EN = 12  # documents
LITTLE = 60  # characters: some of the first documents


@pytest.fixture
def parsed(monkeypatch):
    """The ids of the documents that texts were made of, one for each time."""
    ids: list[str] = []
    original = TextRules.text

    def noting(self, document):
        ids.append(document.docid)
        return original(self, document)

    monkeypatch.setattr(TextRules, "text", noting)
    monkeypatch.setattr(census, "SETTLED", 0)  # files of this test are young
    return ids


@pytest.fixture
def rows_parsed(monkeypatch):
    """The places of the rows of files that were parsed, one for each time."""
    monkeypatch.setattr(census, "SETTLED", 0)
    return tables.noting(monkeypatch)


@pytest.fixture
def stages(tmp_path):
    """Runs stages over a small folder of corpora with an encoder of hashed words.

    stages("embed", "languages=[en]") gives the folder of the results.
    """
    world = World(tmp_path / "corpora", None, ("dense", "sparse", "dense_sparse"))  # type: ignore
    world.make()
    known = {
        "embed": embed.run,
        "merge": merge.run,
        "search": search.run,
        "evaluate": evaluate.run,
    }

    def run(*given: str, to: str = "out"):
        words = world.words(tmp_path / to, "representations=[dense,sparse]", *given)
        words = [word for word in words[: words.index("--config-dir")] if word not in known]
        with tree.added(str(CONF)):
            for name in [word for word in given if word in known]:
                known[name](Setup(compose(*words)))
        return tmp_path / to / "small/fake"

    run.corpora, run.world = world.root, world
    return run


def larger(stages, **documents):
    """The same over corpora of so many documents."""
    shutil.rmtree(stages.corpora)
    stages.world.languages = documents
    stages.world.make()
    return stages


@pytest.fixture
def many(stages):
    """The same over a corpus of 48 shards."""
    return larger(stages, en=240)


def stores(folder):
    return {name: it for name, it in snapshot(folder).items() if name.startswith("stores/")}


@pytest.mark.parametrize("ahead", [LITTLE, 10**6])
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("runtime.processes=2", "runtime.threads=2"),
        pytest.param(
            ("runtime.executor=ray", "runtime.processes=2", "runtime.threads=2"),
            marks=[needs("ray"), pytest.mark.slow],
        ),
    ],
)
def test_all_stages_together_read_a_corpus_once(stages, parsed, monkeypatch, ahead, words):
    monkeypatch.setattr(embed, "AHEAD", ahead)
    folder = stages("embed", *words)
    assert sorted(parsed) == sorted({*parsed}) and len(parsed) == EN + 7
    stages("search", "evaluate")
    assert len(parsed) == EN + 7
    monkeypatch.undo()
    assert differing(stores(folder), stores(stages("embed", to="again"))) == []


def test_a_set_that_does_not_end_soon_is_foreseen_and_counted_later(stages, monkeypatch, capsys):
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    stages("embed")
    out = capsys.readouterr().out
    assert "corpus-en: about " in out and "by the sizes of their files; they are counted" in out
    assert f"  en: {EN} documents, 4 queries, 4 judged" in out
    assert out.index("to encode  about") < out.index("  en: ")
    stages("embed")
    assert f"({EN} texts)" in capsys.readouterr().out.partition("found finished")[2]


def test_a_check_that_fails_late_keeps_what_was_encoded(stages, monkeypatch, capsys):
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    corpus = stages.corpora / "en/corpus.jsonl"
    whole = corpus.read_text()
    corpus.write_text(whole + whole.splitlines(keepends=True)[0])
    with pytest.raises(UserError, match=r"more than once: \['en0'\]"):
        stages("embed", "languages=[en]")
    there = StoreFiles(stages.corpora.parent / "out/small/fake/stores/corpus-en")
    assert not there.manifest.exists() and len(there.written_shards()) >= 1
    corpus.write_text(whole)
    capsys.readouterr()
    folder = stages("embed", "languages=[en]")
    assert "shards are there already" in capsys.readouterr().out
    again = stages("embed", "languages=[en]", to="again")
    assert differing(stores(folder), stores(again)) == []


def half_written(folder):
    """A finished store of three shards as it was before the last of them."""
    files = StoreFiles(folder / "stores/corpus-en")
    write(files.plan, read(files.manifest, StoreManifest).plan.rules)
    files.manifest.unlink()
    shutil.rmtree(files.shard(2))
    return files


@pytest.mark.parametrize("ahead", [LITTLE, 10**6])
def test_a_corpus_that_changed_between_two_calls_is_refused_by_the_shard(
    stages, monkeypatch, ahead
):
    monkeypatch.setattr(embed, "AHEAD", ahead)
    half_written(stages("embed", "languages=[en]"))
    corpus = stages.corpora / "en/corpus.jsonl"
    lines = corpus.read_text().splitlines(keepends=True)
    lines[6], lines[7] = lines[7], lines[6]
    corpus.write_text("".join(lines))
    with pytest.raises(UserError, match=r"shards/00001 is of other texts .*overwrite=true"):
        stages("embed", "languages=[en]")
    folder = stages("embed", "languages=[en]", "overwrite=true")
    again = stages("embed", "languages=[en]", to="again")
    assert differing(stores(folder), stores(again)) == []


def test_a_corpus_that_became_shorter_is_refused_by_the_shard_behind_it(stages):
    files = half_written(stages("embed", "languages=[en]"))
    corpus = stages.corpora / "en/corpus.jsonl"
    lines = corpus.read_text().splitlines(keepends=True)
    qrels = stages.corpora / "en/qrels.tsv"
    qrels.write_text("q0 0 en0 1\n")
    corpus.write_text("".join(lines[:5]))
    with pytest.raises(UserError, match="00001 is behind the last text .*fills 1 shards now"):
        stages("embed", "languages=[en]")
    stages("embed", "languages=[en]", "overwrite=true")
    assert [path.name for path in files.written_shards()] == ["00000"]


def as_before_sums(folder):
    """Makes a store one of the version before sums: one hash over all texts, none in shards."""
    (kept,) = (folder.parent / "texts").glob("corpus-en-*")
    in_turn = json.loads(kept.read_text())["census"]["sha256"]
    files = StoreFiles(folder / "stores/corpus-en")
    manifest = plain(read(files.manifest, StoreManifest))
    manifest["plan"]["texts"]["sha256"] = in_turn
    del manifest["plan"]["texts"]["sum"]
    for path in files.written_shards():
        shard = plain(read(path / "shard.json", ShardRecord))
        del shard["content"], shard["sealed"]
        write(path / "shard.json", shard)
    manifest["records"] = [sha256(path / "shard.json") for path in files.written_shards()]
    del manifest["sealed"]
    write(files.manifest, manifest)
    return files


def test_a_store_of_the_former_hash_is_of_the_same_texts_or_of_others(stages, parsed, capsys):
    """Reading all texts in turn, once, tells."""
    files = as_before_sums(stages("embed", "languages=[en]"))
    before = files.manifest.read_bytes()
    capsys.readouterr()
    folder = stages("embed", "search", "evaluate", "languages=[en]")
    assert "found finished" in capsys.readouterr().out and len(parsed) == EN
    assert files.manifest.read_bytes() == before
    corpus = stages.corpora / "en/corpus.jsonl"
    corpus.write_text("".join(reversed(corpus.read_text().splitlines(keepends=True))))
    for stage in ("embed", "search"):
        with pytest.raises(UserError, match=r"texts[a-z.-]*\.sha256"):
            stages(stage, "languages=[en]")
    # What was half-written then has shards that do not say what they are of.
    corpus.write_text("".join(reversed(corpus.read_text().splitlines(keepends=True))))
    manifest = read(files.manifest, StoreManifest)
    write(files.plan, manifest.plan)
    files.manifest.unlink()
    with pytest.raises(UserError, match="half-written by an earlier version"):
        stages("embed", "languages=[en]")
    assert plan_digest(manifest.plan) == plan_digest(manifest.plan.rules)
    assert folder.exists()


def test_shares_together_parse_a_corpus_once(stages, rows_parsed, monkeypatch, capsys):
    """But for the documents that each looks at, and for a sample of 64 when they are merged."""
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    many, size = larger(stages, en=2000, sw=1000), "runtime.shard_size=40"
    for number in (2, 0, 3, 1):
        many("embed", size, f"runtime.share={number}/4")
    assert 3000 <= len(rows_parsed) <= 3020
    folder = many("merge", size)
    assert len(rows_parsed) <= 1.1 * 3000
    assert {*rows_parsed} == {
        f"{many.corpora / language / 'corpus.jsonl'}, line {i + 1}"
        for language, n in many.world.languages.items()
        for i in range(n)
    }
    after_stage_0 = len(rows_parsed)
    many("search", "evaluate", size)
    assert len(rows_parsed) == after_stage_0
    monkeypatch.undo()
    capsys.readouterr()
    many("embed", size)
    assert capsys.readouterr().out.count("found finished") == 4
    assert differing(stores(folder), stores(many("embed", size, to="again"))) == []


FORMATS = {
    "commas": ["corpus.csv"],
    "tabs": ["corpus.tsv.gz"],
    "row groups": ["corpus.parquet"],
    "mapped": ["corpus.arrow"],
    "several": ["corpus/1.parquet", "corpus/2.csv.zst", "corpus/3.jsonl", "corpus/4.parquet"],
}


@pytest.mark.parametrize("names", FORMATS.values(), ids=FORMATS)
def test_a_corpus_of_any_format_is_parsed_once(stages, rows_parsed, monkeypatch, names):
    """By one process, by two, and by shares; they end within row groups and files, and lines."""
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    n, size = 1500, ("languages=[en]", "runtime.shard_size=100")
    folder = larger(stages, en=n).corpora / "en"
    plain = folder / "corpus.jsonl"
    rows = [json.loads(line) for line in plain.read_text().splitlines()]
    plain.unlink()
    lines = [] if "corpus.tsv.gz" in names else ['\n"quoted", and\n\nmore']
    for row in rows:
        row["text"] = " ".join([row["text"], *lines])
    part = n // len(names)
    headers = set()
    for i, name in enumerate(names):
        path = tables.write(folder / name, rows[i * part : (i + 1) * part])
        headers |= {f"{path}, line 1"} if "sv" in name else set()
    outputs = []
    for to, words in (("alone", ()), ("two", ("runtime.processes=2", "runtime.threads=2"))):
        outputs.append(stores(stages("embed", *size, *words, to=to)))
        parsed = [place for place in rows_parsed if place not in headers]
        assert len(parsed) == len({*parsed}) == n
        rows_parsed.clear()
    for number in (2, 0, 3, 1):
        stages("embed", *size, f"runtime.share={number}/4", to="shares")
    outputs.append(stores(stages("merge", *size, to="shares")))
    by_shares = [place for place in rows_parsed if place not in headers]
    assert {*by_shares} == {*parsed} and len(by_shares) <= 1.1 * n
    assert all(differing(outputs[0], other) == [] for other in outputs[1:])


def test_what_needs_the_whole_is_looked_at_when_shares_are_merged(many, monkeypatch):
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    corpus = many.corpora / "en/corpus.jsonl"
    whole = corpus.read_text()
    lines = whole.splitlines(keepends=True)

    def in_shares(to):
        for number in range(2):
            many("embed", "languages=[en]", f"runtime.share={number}/2", to=to)

    corpus.write_text(whole + lines[3])
    in_shares("repeated")
    with pytest.raises(UserError, match=r"more than once: \['en3'\]"):
        many("merge", "languages=[en]", to="repeated")
    # Another corpus than that of the shares: shorter, longer, a shard of which is not there.
    corpus.write_text(whole)
    in_shares("changed")
    for now, said in (
        (lines[:-1], "00047 has 5 texts, its place in the corpus has 4 now"),
        (lines[:-6], "00046 has 5 texts, its place in the corpus has 4 now"),
        ([*lines, lines[0]], "lacks 1 of 49 shards: 00048"),
    ):
        corpus.write_text("".join(now))
        with pytest.raises(UserError, match=said):
            many("merge", "languages=[en]", to="changed")
    corpus.write_text(whole)
    qrels = many.corpora / "en/qrels.tsv"
    judged = qrels.read_text()
    qrels.write_text("q0 0 nowhere 1\n")
    with pytest.raises(UserError, match="not one of 1 relevant documents is in the corpus"):
        many("merge", "languages=[en]", to="changed")
    qrels.write_text(judged)
    many("merge", "languages=[en]", to="changed")


def test_a_share_refuses_ids_of_its_own_shards_that_no_run_can_hold(many, monkeypatch):
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    corpus = many.corpora / "en/corpus.jsonl"
    corpus.write_text(corpus.read_text().replace('"en100"', '"en 100"'))
    refused = 0
    for number in range(2):
        try:
            many("embed", "languages=[en]", f"runtime.share={number}/2")
        except UserError as error:
            refused += "'en 100' is empty or contains white space" in str(error)
    assert refused == 1


def test_a_store_is_repaired_as_it_was_cut(stages, monkeypatch):
    """Early versions cut by the lengths of texts, and a store knows how many are in each shard."""
    folder = stages("embed", "languages=[en]")
    before = stores(folder)
    (folder / "stores/corpus-en/shards/00001/dense.npy").write_bytes(b"")
    monkeypatch.setattr(shards, "SHARD_CHARACTERS", 50)
    stages("embed", "languages=[en]", "repair=true")
    assert differing(stores(folder), before) == []


@pytest.mark.parametrize(
    ("swap", "name"),
    [
        ("text", "corpus.jsonl"),
        ("order", "corpus.jsonl"),
        ("text", "corpus.csv"),
        ("order", "corpus.tsv"),
        ("text", "corpus.parquet"),
        ("order", "corpus.arrow"),
    ],
)
def test_shares_of_two_corpora_are_never_merged(many, monkeypatch, swap, name):
    """Whichever of the two the corpus is when they are merged."""
    monkeypatch.setattr(embed, "AHEAD", LITTLE)
    plain = many.corpora / "en/corpus.jsonl"
    one = [json.loads(line) for line in plain.read_text().splitlines()]
    plain.unlink()
    of_other_texts = [row | {"text": row["text"][::-1]} for row in one]  # of the same length
    other = of_other_texts if swap == "text" else one[::-1]
    for number, rows in enumerate((one, other)):
        tables.write(many.corpora / "en" / name, rows)
        many("embed", "languages=[en]", f"runtime.share={number}/2")
    for rows in (one, other):
        tables.write(many.corpora / "en" / name, rows)
        with pytest.raises(UserError, match="is of other texts than its place in the corpus"):
            many("merge", "languages=[en]")
    tables.write(many.corpora / "en" / name, one)
    with pytest.raises(UserError, match=r"is of other texts .*begin with"):
        many("embed", "languages=[en]", "runtime.share=1/2")
