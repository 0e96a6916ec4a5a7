"""Retrieval sets in the layouts of the hub: what is found, what is asked for, what is refused.

Through the three stages, and from a mirror of the hub, they go in tests/test_mirror.py.
"""

from __future__ import annotations

import json
import shutil

import pytest
from huggingface_hub import constants

from m3eval.benchmarks.hub_set import HubSet
from m3eval.config import compose
from m3eval.errors import UserError
from tests import miniatures
from tests.hub_server import Hub

ROWS = miniatures.retrieval_rows()
ALL = {
    "mteb/scifact": {"language": "en"},
    "BeIR/nq-mini": {"language": "en"},
    "mteb/MIRACLRetrieval": {"split": "dev"},
    "zeta/NanoFiQA": {"language": "en", "split": "train"},
    "BeIR/arguana": {"language": "en"},
}


def retrieval_set(repository, split="test", language=None, root=None, revision="main") -> HubSet:
    return HubSet(str(repository), split, language, root and str(root), revision, "main")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Folders of all layouts, as a mirror and as a hub's datasets; to be copied."""
    root = tmp_path_factory.mktemp("sets")
    miniatures.retrieval_sets(root / "datasets")
    return root


@pytest.fixture
def hub(sets, tmp_path, monkeypatch):
    shutil.copytree(sets, tmp_path / "served")
    server = Hub(tmp_path / "served")
    server.point(monkeypatch, tmp_path / "cache")
    yield server
    server.stop()


def require_miniature(task, language=""):
    rows = miniatures.retrieval_rows(language)
    assert [d._asdict() for d in task.corpus.read()] == [
        {"docid": row["_id"], "title": row["title"], "text": row["text"]} for row in rows["corpus"]
    ]
    # The last one is of another split, or nobody judged it.
    assert task.queries == [(row["_id"], row["text"]) for row in rows["queries"][:-1]]
    assert task.qrels == {row["query-id"]: {row["corpus-id"]: 1} for row in rows["qrels"]}
    assert task.corpus.files and all(path.exists() for path in task.corpus.files)


@pytest.mark.parametrize("repository", ALL)
@pytest.mark.parametrize("place", ["hub", "mirror", "folder"])
def test_a_layout_gives_the_same_task_from_everywhere(hub, sets, repository, place):
    if place == "folder":
        found = retrieval_set(sets / "datasets" / repository, **ALL[repository])
    else:
        root = sets / "datasets" if place == "mirror" else None
        found = retrieval_set(repository, root=root, **ALL[repository])
    several = repository == "mteb/MIRACLRetrieval"
    assert found.languages == (["ko", "sw"] if several else ["en"])
    for language in found.languages:
        task = found.task(language)
        require_miniature(task, language if several else "")
        assert task.corpus.language == language
        assert len(task.corpus.files) == (2 if repository == "BeIR/nq-mini" else 1)
        own = [repository, *([f"{repository}-qrels"] if repository.startswith("BeIR") else [])]
        commits = {name: hub.commit("datasets", name) if place == "hub" else None for name in own}
        assert task.commits == ({} if place == "folder" else commits)
    if place != "hub":
        assert not hub.requests


@pytest.mark.parametrize("repository", ALL)
def test_what_the_cache_has_is_read_without_a_hub(hub, tmp_path, monkeypatch, repository):
    first = retrieval_set(repository, **ALL[repository])
    before = first.task(first.languages[0])
    at = hub.commit("datasets", repository)
    # Not only stopped: what is connected already would still be answered.
    hub.point(monkeypatch, tmp_path / "cache", "http://127.0.0.1:1")
    for revision in ("main", at):
        again = retrieval_set(repository, revision=revision, **ALL[repository])
        task = again.task(again.languages[0])
        assert (task.queries, task.qrels, task.commits) == (
            before.queries,
            before.qrels,
            before.commits,
        )
    with pytest.raises(UserError, match="cannot be reached"):
        _ = retrieval_set("mteb/nfcorpus", language="en").languages


def test_of_a_branch_that_moves_all_files_are_of_one_commit(hub):
    found = retrieval_set("mteb/scifact", language="en")
    assert found.languages == ["en"]  # the card is read
    at = hub.commit("datasets", "mteb/scifact")
    with (hub.repository("datasets", "mteb/scifact") / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "late", "text": "x"}\n')
    with pytest.raises(UserError, match=f"has no revision '{at}'"):  # this hub has one commit only
        found.task("en")
    task = retrieval_set("mteb/scifact", language="en").task("en")
    assert [document.docid for document in task.corpus.read()][-1] == "late"
    assert task.commits["mteb/scifact"] not in (None, at)


def test_only_what_a_language_needs_is_fetched(hub):
    retrieval_set("mteb/MIRACLRetrieval", "dev").task("ko")
    fetched = {path.rpartition("/")[2] for _, path, _ in hub.requests if "/resolve/" in path}
    asked = {path for method, path, _ in hub.requests if "-corpus/" in path and method == "GET"}
    assert "README.md" in fetched and asked and not any("sw-" in path for path in asked)


def test_a_script_of_a_repository_is_not_run(hub):
    found = retrieval_set("BeIR/arguana", language="en")
    require_miniature(found.task("en"))  # the script ends the process that runs it


def test_what_save_to_disk_wrote_is_mapped_into_memory(tmp_path):
    miniatures.saved_set(tmp_path / "saved")
    require_miniature(retrieval_set(tmp_path / "saved", language="en").task("en"))
    # A dictionary for each configuration: then splits have names.
    import datasets

    for name, rows in ROWS.items():
        dataset = datasets.Dataset.from_list(rows)
        splits = {"dev": dataset.select([0]), "test": dataset} if name == "qrels" else {}
        each = datasets.DatasetDict(splits or {"train": dataset})
        each.save_to_disk(str(tmp_path / f"both/sw-{name}"))
    found = retrieval_set(tmp_path / "both")
    assert found.languages == ["sw"]
    require_miniature(found.task("sw"))
    assert len(retrieval_set(tmp_path / "both", "dev").task("sw").queries) == 1
    with pytest.raises(UserError, match="sw-qrels has the splits dev, test: choose one of them"):
        retrieval_set(tmp_path / "both", "train").task("sw")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_a_folder_without_a_card_is_read_by_its_names(tmp_path, kind):
    from tests.benchmarks.test_folder import save

    for name, rows in ROWS.items():
        save(tmp_path / f"{name}/{'test' if name == 'qrels' else 'part'}.{kind}", rows)
    save(tmp_path / f"qrels/dev.{kind}", ROWS["qrels"][:1])
    require_miniature(retrieval_set(tmp_path, language="en").task("en"))
    assert len(retrieval_set(tmp_path, "dev", "en").task("en").queries) == 1


def test_the_language_is_asked_for_where_no_name_says_it(sets):
    root = sets / "datasets"
    for repository, says in (("mteb/scifact", "; its card says en: say"), ("zeta/NanoFiQA", ": s")):
        with pytest.raises(UserError, match=f"do not say the language{says}.*benchmark.language="):
            _ = retrieval_set(repository, root=root).languages
    with pytest.raises(UserError, match=r"say their languages themselves \(ko, sw\): leave it out"):
        _ = retrieval_set("mteb/MIRACLRetrieval", language="en", root=root).languages


def named_set(folder, names):
    """A set whose configurations stand before `-corpus` and the like."""
    configurations = {}
    for name in names:
        for kind, rows in ROWS.items():
            configurations[f"{name}-{kind}"] = {"test": f"{name}-{kind}/*"}
            miniatures.parquet(folder / f"{name}-{kind}/a.parquet", rows)
    miniatures.card(folder, configurations)


def test_names_of_languages_and_what_is_none(tmp_path):
    named_set(tmp_path / "say", ["bengali", "kor", "eng-eng", "acm_Arab", "zh-en", "cmn-cmn"])
    found = retrieval_set(tmp_path / "say")
    codes = {name: found.task(name).corpus.language for name in found.languages}
    # What analysers know is given to them where one language is meant.
    expected = {"bengali": "bn", "kor": "ko", "eng-eng": "en", "cmn-cmn": "zh"}
    assert codes == expected | {"acm_Arab": None, "zh-en": None}
    named_set(tmp_path / "code", ["python", "go"])
    with pytest.raises(UserError, match="python, go are names of configurations, and of no lang"):
        _ = retrieval_set(tmp_path / "code").languages
    found = retrieval_set(tmp_path / "code", language="en")
    assert found.languages == ["python", "go"] and found.task("go").corpus.language == "en"
    named_set(tmp_path / "both", ["ko", "zh_cn", "fr-rare"])
    found = retrieval_set(tmp_path / "both", language="fr")
    codes = [found.task(name).corpus.language for name in found.languages]
    assert codes == ["ko", "zh", "fr"]  # what is given is for those names only that say none


CARD = "---\nconfigs:\n- config_name: corpus\n  data_files: {}\n---\n"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (CARD.format("../other/*"), "names files that lie elsewhere, which are not read: ../other"),
        (CARD.format("/etc/*"), "names files that lie elsewhere"),
        (CARD.format("https://example.org/a.parquet"), "names files that lie elsewhere"),
        (CARD.format("{a: b}"), "its configurations cannot be read"),
        (CARD.format("[{split: test}]"), "its configurations cannot be read"),
        ("---\nconfigs: 5\n---\n", "its configurations cannot be read"),
        ("---\nconfigs: [5]\n---\n", "its configurations cannot be read"),
        ("---\nconfigs: [{a: 1}]\n---\n", "its configurations cannot be read"),
        ("---\n[\n---\n", "its head cannot be read"),
        ("---\n- a\n---\n", "its head cannot be read"),
        ("---\n\xff\n", "is no retrieval set"),
        (CARD.format("corpus.jsonl"), "is no retrieval set: .* It has corpus. docs/data.md"),
        ("", "is no retrieval set: .* It has no files of rows"),
    ],
)
def test_a_card_is_data(tmp_path, card, said):
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    with pytest.raises(UserError, match=said) as error:
        _ = retrieval_set(tmp_path, language="en").languages
    assert "\n" not in str(error.value)


def test_what_a_state_says_is_data(tmp_path):
    miniatures.saved_set(tmp_path)
    state = tmp_path / "corpus/state.json"
    for content, said in (
        ('{"_data_files": [{"filename": "../../x.arrow"}]}', "files that lie elsewhere"),
        ("{}", "is none of `save_to_disk`"),
        ("[", "is no valid JSON"),
    ):
        state.write_text(content)
        with pytest.raises(UserError, match=said):
            _ = retrieval_set(tmp_path, language="en").languages


def test_files_that_are_damaged_or_missing(tmp_path, sets):
    miniatures.saved_set(tmp_path / "saved")
    (arrow,) = tmp_path.glob("saved/corpus/*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(UserError, match="arrow is damaged or cut short .*: make it again"):
        list(retrieval_set(tmp_path / "saved", language="en").task("en").corpus.read())
    arrow.unlink()
    with pytest.raises(UserError, match="has no files of rows corpus/data"):
        retrieval_set(tmp_path / "saved", language="en").task("en")
    copy = shutil.copytree(sets / "datasets/BeIR", tmp_path / "BeIR")
    (copy / "nq-mini/corpus/corpus-00001-of-00002.parquet").unlink()
    for each, root in (("BeIR/nq-mini", tmp_path), (copy / "nq-mini", None)):
        with pytest.raises(UserError, match="has 1 of the 2 parts of corpus/corpus.parquet"):
            retrieval_set(each, language="en", root=root).task("en")
    shutil.rmtree(copy / "nq-mini-qrels")
    with pytest.raises(UserError, match="nq-mini-qrels does not exist"):
        retrieval_set(copy / "nq-mini", language="en").task("en")


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("scifact", "give OWNER/NAME of the hub, or a folder"),
        ("a/b/c", "give OWNER/NAME of the hub, or a folder"),
        ("/nowhere/at/all", "does not exist, or is no folder"),
        ("BeIR/nq-mini/", "give OWNER/NAME"),
    ],
)
def test_a_repository_that_is_none(repository, said):
    with pytest.raises(UserError, match=said):
        _ = retrieval_set(repository, language="en").languages


def test_the_split_of_judgements_is_the_one_asked_for(sets):
    root = sets / "datasets"
    assert list(retrieval_set("mteb/scifact", "train", "en", root).task("en").judged) == ["q5"]
    assert list(retrieval_set("BeIR/nq-mini", "dev", "en", root).task("en").judged) == ["q5"]
    for repository, has in (("zeta/NanoFiQA", "train"), ("BeIR/nq-mini", "dev, test")):
        with pytest.raises(UserError, match=f"benchmark.split=other: .* has the splits {has}"):
            retrieval_set(repository, "other", "en", root).task("en")


def test_rows_are_held_to_their_kinds(tmp_path):
    for name, rows in ROWS.items():
        changed = [dict(row) for row in rows]
        if name == "corpus":
            changed[3]["text"] = None
        miniatures.parquet(tmp_path / f"{name}/test.parquet", changed)
    with pytest.raises(UserError, match="parquet, row 4: 'text' is null, expected a string"):
        list(retrieval_set(tmp_path, language="en").task("en").corpus.read())


@pytest.mark.parametrize(
    ("repository", "name"),
    [("mteb/scifact", "mteb-scifact"), ("/data/my set/", "my set"), ("./x", "x"), ("~/y", "y")],
)
def test_a_benchmark_is_named_by_its_repository(repository, name):
    cfg = compose("benchmark=hub", f"benchmark.repository='{repository}'")
    assert cfg.benchmark.name == name and cfg.benchmark.label == repository


@pytest.mark.parametrize("layout", ["saved", "folder"])
def test_folders_go_through_the_stages(pipeline, tmp_path, sets, layout):
    at = tmp_path / "saved"
    if layout == "saved":
        miniatures.saved_set(at)
    else:
        shutil.copytree(sets / "datasets/mteb/scifact", at)
    words = ["benchmark=hub", f"benchmark.repository={at}", "benchmark.language=en"]
    words += ["languages=[en]", "benchmark.root=null", "retriever=[dense,bm25s,sparse]"]
    folder = pipeline(*words)
    assert folder.parent.name == "saved"
    result = json.loads((folder / "scores/scores.json").read_text())
    assert result["scores"]["nDCG@10"]["bm25s"]["en"] == 100.0  # words of the documents are asked
    assert result["judged_queries"] == {"en": 5}


def test_without_a_hub_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="hf download mteb/scifact .*(\n.*)*benchmark.root=/mirror"):
        _ = retrieval_set("mteb/scifact", language="en").languages
