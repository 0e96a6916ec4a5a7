"""The hub and its mirrors: benchmarks from a hub on loopback, then without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from m3eval.commands import mirror
from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures
from tests.hub_server import Hub

ROOT = Path(__file__).resolve().parents[1]
HUB_SET = ["benchmark=hub", "retriever=[dense,sparse,dense_sparse]"]
ENGLISH = ["benchmark.language=en", "languages=[en]"]
CHOICES = {
    "miracl": ["benchmark=miracl", "languages=[sw]"],
    "mldr": ["benchmark=mldr", "languages=[hi]"],
    "mkqa": ["benchmark=mkqa", "languages=[ko,'no']", "benchmark.retrieval.depth=200"],
    "narrativeqa": ["benchmark=narrativeqa", "languages=[en]"],
    "belebele": [
        "benchmark=belebele",
        "languages=[kor_Hang,kor_Hang-eng_Latn]",
        "benchmark.source.revision=main",
    ],
    # As mteb/scifact, BeIR/nq, mteb/MIRACLRetrieval, NanoBEIR; the last by its files' names.
    "jsonl": [*HUB_SET, "benchmark.repository=mteb/scifact", *ENGLISH],
    "parquet": [*HUB_SET, "benchmark.repository=BeIR/nq-mini", *ENGLISH],
    "languages": [
        *HUB_SET,
        "benchmark.repository=mteb/MIRACLRetrieval",
        "benchmark.split=dev",
        "languages=[ko,sw]",
    ],
    "nano": [*HUB_SET, "benchmark.repository=zeta/NanoFiQA", *ENGLISH, "benchmark.split=train"],
    "script": [*HUB_SET, "benchmark.repository=BeIR/arguana", *ENGLISH],
}


@pytest.fixture(scope="session")
def repositories(tmp_path_factory, mirror, m3) -> Path:
    root = tmp_path_factory.mktemp("hub")
    miniatures.hub(root, mirror, m3)
    return root


@pytest.fixture
def hub(repositories, tmp_path, monkeypatch):
    """A running hub that this process's client is pointed at, with an empty cache."""
    server = Hub(repositories)
    server.point(monkeypatch, tmp_path / "cache")
    yield server
    server.stop()


def make(*words):
    mirror.run(check(compose("benchmark.subset=true", *words, config="mirror")))


@pytest.mark.parametrize("name", CHOICES)
def test_from_the_hub_and_then_from_a_mirror_of_it(
    hub, pipeline, tmp_path, monkeypatch, capsys, name
):
    hub_words = [*CHOICES[name], "benchmark.root=null"]
    folder = pipeline(*hub_words)
    root = f"benchmark.root={tmp_path / 'mirror'}"
    make(*CHOICES[name], root)
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    capsys.readouterr()

    other = pipeline(*CHOICES[name], root, f"output_dir={tmp_path / 'other'}")
    for run in sorted(folder.glob("runs/*/*.trec")):
        assert run.read_bytes() == (other / run.relative_to(folder)).read_bytes()
    one, two = (json.loads((path / "scores/scores.json").read_text()) for path in (folder, other))
    assert one["scores"] == two["scores"] and "subset" in one["title"]
    commits = one["provenance"]["commits"]
    assert commits == two["provenance"]["commits"]  # a mirror knows which commit it is of
    assert commits and commits == {
        repository: hub.commit("datasets", repository) for repository in commits
    }
    capsys.readouterr()
    # The hub's stores, texts from the mirror: nothing to do.
    pipeline(*CHOICES[name], root, "embed", "search")
    assert "tokens/s" not in capsys.readouterr().out


def test_a_store_does_not_mind_whence_the_texts_came(hub, pipeline, tmp_path, mirror):
    folder = pipeline("embed", "languages=[sw]", "benchmark.root=null")
    plan = json.loads((folder / "stores/corpus-sw/manifest.json").read_text())["plan"]
    assert plan["commits"]["miracl/miracl-corpus"] == hub.commit("datasets", "miracl/miracl-corpus")
    (folder / "stores/corpus-sw/manifest.json").unlink()  # as if interrupted
    (folder / "stores/corpus-sw/plan.json").write_text(json.dumps(plan))
    # Filled by hand: no commit known.
    pipeline("embed", "search", "evaluate", f"benchmark.root={mirror}")
    plan = json.loads((folder / "stores/corpus-sw/manifest.json").read_text())["plan"]
    assert plan["commits"] == {"miracl/miracl-corpus": None, "miracl/miracl": None}


def test_a_model_repository_and_the_scripts_as_a_user_starts_them(hub, tmp_path):
    """HF_ENDPOINT and HF_HOME from the environment; the checkpoint from the hub, then a mirror."""
    # The miniature has not the pinned revision.
    words = [
        "languages=[yo]",
        "benchmark.subset=true",
        "encoder.revision=main",
    ]
    words += ["runtime.threads=1", "runtime.precision=fp32"]
    words += [
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
        f"output_dir={tmp_path}",
    ]
    environment = os.environ | {
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }

    def start(*command):
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=120,
        )

    found = start("step0_embed.py", *words)
    assert found.returncode == 0, found.stdout + found.stderr
    root = tmp_path / "mirror"
    found = start(
        "-m",
        "m3eval",
        "mirror",
        *words[:3],
        f"benchmark.root={root}",
        "with_encoder=true",
        f"output_dir={tmp_path}",
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "model.safetensors" in found.stdout and "in all" in found.stdout
    hub.stop()
    environment["HF_HOME"] = str(tmp_path / "empty")
    found = start(
        "step0_embed.py",
        *words,
        f"benchmark.root={root}",
        f"encoder.checkpoint={root / 'BAAI/bge-m3'}",
    )
    assert found.returncode == 0 and found.stdout.count("found finished") == 2, (
        found.stdout + found.stderr
    )
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=root / "BAAI/bge-m3", check=False
    )
    assert checked.returncode == 0


def test_a_second_run_fetches_what_is_missing_or_damaged_only(hub, tmp_path, capsys):
    words = ["languages=[sw]", f"benchmark.root={tmp_path}"]
    make(*words)
    shards = tmp_path / "miracl/miracl-corpus/miracl-corpus-v1.0-sw"
    (shards / "docs-3.jsonl.gz").unlink()
    damaged = bytearray((shards / "docs-4.jsonl.gz").read_bytes())
    damaged[20] ^= 1
    (shards / "docs-4.jsonl.gz").write_bytes(damaged)
    with pytest.raises(
        UserError, match=r"missing or damaged: .*docs-3.jsonl.gz, .*docs-4.jsonl.gz\."
    ):
        make(*words, "check_only=true")
    hub.requests.clear()
    make(*words)
    fetched = {
        Path(path).name
        for method, path, _ in hub.requests
        if method == "GET" and "/resolve/" in path
    }
    assert fetched == {"docs-3.jsonl.gz", "docs-4.jsonl.gz"}
    hub.stop()
    capsys.readouterr()
    make(*words, "check_only=true")
    assert "14 files" in capsys.readouterr().out  # 12 shards, topics, judgements
    assert not list(tmp_path.rglob(".cache"))


def test_a_mirror_grows_and_stays_at_its_commit(hub, tmp_path):
    make("languages=[sw]", f"benchmark.root={tmp_path}")
    make("languages=[yo]", f"benchmark.root={tmp_path}")
    make("languages=[sw,yo]", f"benchmark.root={tmp_path}", "check_only=true")
    with pytest.raises(UserError, match="is a mirror of revision 'main'"):
        make("languages=[yo]", f"benchmark.root={tmp_path}", "benchmark.source.corpus_revision=v2")


def test_an_interrupted_transfer_goes_on_where_it_broke(hub, tmp_path, monkeypatch):
    # The client keeps whole chunks, by default of 10 MB.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    name = "data/test-00000-of-00002.parquet"
    hub.cut.add(Path(name).name)
    make("benchmark=narrativeqa", f"benchmark.root={tmp_path}")
    asked = [part for method, path, part in hub.requests if method == "GET" and path.endswith(name)]
    whole = hub.repository("datasets", "deepmind/narrativeqa") / name
    assert asked == [None, f"bytes={whole.stat().st_size // 2 // 1000 * 1000}-"]
    assert (tmp_path / "deepmind/narrativeqa" / name).read_bytes() == whole.read_bytes()


def test_an_interrupted_mirror_keeps_what_is_finished(hub, tmp_path, monkeypatch):
    words, fetch, calls = (
        ["languages=[sw]", f"benchmark.root={tmp_path}"],
        mirror.hf_hub_download,
        [],
    )

    def break_off(*args, **kwargs):
        calls.append(args[1])
        if len(calls) == 5:
            raise ConnectionError("the cable")
        return fetch(*args, **kwargs)

    monkeypatch.setattr(mirror, "hf_hub_download", break_off)
    with pytest.raises(UserError, match=r"ConnectionError: the cable.*same command again"):
        make(*words)
    make(*words)
    assert all(calls.count(name) == (2 if name == calls[4] else 1) for name in calls)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["benchmark=mldr", "languages=[ko]"],
            r"Shitao/MLDR has no files mldr-v1.0-ko/corpus.jsonl.gz",
        ),
        (
            ["benchmark=mkqa", "languages=[sv]"],
            r"has 0 files sv.jsonl, expected one; it holds qa_data/ko.jsonl",
        ),
        (
            ["benchmark=narrativeqa", "languages=[en]", "benchmark.split=validation"],
            r"has no files data/validation-\*",
        ),
        (["benchmark=mldr", "languages=[hi]", "benchmark.source.revision=v9"], r"no revision 'v9'"),
        (
            ["benchmark=mldr", "languages=[hi]", "benchmark.subset=false"],
            r"12 documents of 3,806",
        ),
        (
            ["benchmark=narrativeqa", "languages=[en]", "benchmark.subset=false"],
            r"4 documents of 355 and 12 queries of 10,557",
        ),
        (
            ["benchmark=mkqa", "languages=[ko]", "benchmark.subset=false"],
            r"20 documents of 2,681,468 and 6 queries of 6,619",
        ),
    ],
)
def test_what_is_wrong_is_named(hub, pipeline, words, message):
    with pytest.raises(UserError, match=message):
        pipeline("embed", *words, "benchmark.root=null")


def test_a_language_that_the_hub_lacks_is_named_before_anything_is_fetched(hub, tmp_path):
    with pytest.raises(
        UserError, match=r"miracl/miracl-corpus at \w+ has no files miracl-corpus-v1.0-ko/docs-\*"
    ):
        make("languages=[sw,ko]", f"benchmark.root={tmp_path}")
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_in_a_mirror_is_named(hub, pipeline, tmp_path):
    words = ["benchmark=mldr", "languages=[hi]", f"benchmark.root={tmp_path / 'mirror'}"]
    make(*words)
    corpus = tmp_path / "mirror/Shitao/MLDR/mldr-v1.0-hi/corpus.jsonl.gz"
    corpus.write_bytes(corpus.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"corpus.jsonl.gz is damaged or cut short"):
        pipeline("embed", *words)


def test_out_of_reach_says_so(hub, pipeline, tmp_path):
    hub.stop()
    with pytest.raises(UserError, match="the hub cannot be reached"):
        pipeline("embed", "benchmark=mldr", "languages=[hi]", "benchmark.root=null")
    with pytest.raises(UserError, match="check_only=true"):
        make("benchmark=mldr", "languages=[hi]", f"benchmark.root={tmp_path}")


def test_what_cannot_be_mirrored(tmp_path):
    with pytest.raises(UserError, match="has no files on the hub"):
        make("experiment=demo")
    with pytest.raises(UserError, match="where the mirror goes"):
        make("benchmark=mldr")
    with pytest.raises(UserError, match="is not a model on the hub"):
        make(
            "benchmark=mldr",
            f"benchmark.root={tmp_path}",
            "encoder=e5_small_q4",
            "with_encoder=true",
        )


def test_a_pair_of_models_is_mirrored_whole(tmp_path):
    words = ["benchmark=mldr", "languages=[hi]", f"benchmark.root={tmp_path}", "with_encoder=true"]
    words += [
        "encoder=mdpr",
        "encoder.checkpoint=castorini/mdpr-passage-nq",
        "encoder.query_checkpoint=castorini/mdpr-question-nq",
    ]
    found = mirror.needed(check(compose(*words, config="mirror")))
    assert [files.repository for files in found] == [
        "Shitao/MLDR",
        "castorini/mdpr-passage-nq",
        "castorini/mdpr-question-nq",
    ]
