"""What tests share: a random checkpoint in M3's format, a small mirror of MIRACL, the stages."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from m3eval.commands import compare, gate, plan, tune
from m3eval.config import check, compose
from m3eval.layout import Layout
from m3eval.retrievers.run import read_run
from m3eval.stages import embed, evaluate, search
from tests.needs import skip_unless

pytest_plugins = ["pytester", "tests.declared_skips"]

SHARED = Path(__file__).resolve().parents[2] / "shared"
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


def pytest_addoption(parser):
    parser.addoption(
        "--reliability", action="store_true", help="write results/reliability.md (make faults)"
    )


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real corpora and gold values beside the checkout, where there are any."""
    skip_unless(SHARED.exists(), f"needs the shared corpora and gold values in {SHARED}")
    return SHARED / "data"


def words(seed: int, n: int) -> str:
    """n made-up words that the random checkpoints' tokeniser knows."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(n))


def save_tokenizer(folder: Path) -> None:
    """A small unigram tokeniser with XLM-R's ids: <s> 0, <pad> 1, </s> 2, <unk> 3, <mask> last."""
    pieces = [*("▁" + s for s in SYLLABLES), *SYLLABLES, "▁", *"abcdefghijklmnopqrstuvwxyz?."]
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((p, -5.0 - len(pieces) % 7 - 1 / (i + 1)) for i, p in enumerate(pieces)),
        ("<mask>", 0.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    ).save_pretrained(folder)


def save_m3(
    folder: Path, layers: int = 2, hidden: int = 32, positions: int = 130, seed: int = 0
) -> Path:
    """A checkpoint in BGE-M3's layout, random weights."""
    torch.manual_seed(seed)
    save_tokenizer(folder)
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    config = transformers.XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        initializer_range=0.3,
    )
    transformers.XLMRobertaModel(config).save_pretrained(folder)
    for name, out in (("colbert_linear.pt", hidden), ("sparse_linear.pt", 1)):
        torch.save(torch.nn.Linear(hidden, out).state_dict(), folder / name)
    return folder


@pytest.fixture(scope="session")
def m3(tmp_path_factory) -> Path:
    """The random M3 checkpoint most tests use; copy it before changing it."""
    return save_m3(tmp_path_factory.mktemp("checkpoints") / "m3")


@pytest.fixture(scope="session")
def mirror(tmp_path_factory) -> Path:
    """A mirror in MIRACL's layout: 60 documents in 12 files for sw, 5 documents for yo."""
    root = tmp_path_factory.mktemp("mirror")
    for language, n, shards in (("sw", 60, 12), ("yo", 5, 1)):
        docs = root / "miracl" / "miracl-corpus" / f"miracl-corpus-v1.0-{language}"
        docs.mkdir(parents=True)
        for shard in range(shards):
            with gzip.open(docs / f"docs-{shard}.jsonl.gz", "wt", encoding="utf-8") as file:
                for i in range(shard * n // shards, (shard + 1) * n // shards):
                    row = {"docid": f"{i}#0", "title": words(i, 2), "text": words(1000 + i, 4 + i)}
                    file.write(json.dumps(row) + "\n")
        topics = root / "miracl" / "miracl" / f"miracl-v1.0-{language}"
        for kind, line in (("topics", "{i}\t{text}\n"), ("qrels", "{i} Q0 {i}#0 1\n")):
            (topics / kind).mkdir(parents=True)
            rows = "".join(
                line.format(i=i, text=words(i, 2) + " " + words(1000 + i, 2))
                for i in range(min(n, 9))
            )
            (topics / kind / f"{kind}.miracl-v1.0-{language}-dev.tsv").write_text(rows)
    return root


@pytest.fixture
def corpus_of(tmp_path):
    """Writes a corpus and gives its root.

    corpus_of({language: [(docid, text)]}, {language: [(qid, text)]})
    """

    def write(documents, asked) -> Path:
        for language in documents:
            folder = tmp_path / "corpora" / language
            folder.mkdir(parents=True)
            rows = [{"docid": docid, "text": text} for docid, text in documents[language]]
            (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (folder / "queries.tsv").write_text(
                "".join(f"{qid}\t{text}\n" for qid, text in asked[language])
            )
            (folder / "qrels.tsv").write_text(
                "".join(f"{qid} 0 {documents[language][0][0]} 1\n" for qid, _ in asked[language])
            )
        return tmp_path / "corpora"

    return write


DONE = "retriever=[dense,sparse,dense_sparse]"
STAGES = {"embed": embed.run, "search": search.run, "evaluate": evaluate.run}
# Each with a configuration of its own name.
COMMANDS = {
    "compare": compare.run,
    "gate": gate.run,
    "plan": plan.run,
    "tune": tune.run,
}


@pytest.fixture(scope="session")
def pipeline_in(m3, mirror):
    """Runs stages in process on the random checkpoint and the miniature mirror.

    pipeline_in(outputs)("embed", "languages=[sw]", ...) gives the folder of the results.
    """

    def into(outputs: Path) -> Callable[..., Path]:
        return partial(run_stages, outputs, m3, mirror)

    return into


@pytest.fixture(scope="session")
def words_in(m3, mirror) -> Callable[[Path], list[str]]:
    """The settings that `pipeline_in` gives, for a process of its own."""
    return partial(settings, m3=m3, mirror=mirror)


@pytest.fixture(scope="session")
def done(pipeline_in, tmp_path_factory) -> Path:
    """Outputs of all stages: sw and yo, with dense, sparse and their hybrid; to be copied."""
    outputs = tmp_path_factory.mktemp("done")
    pipeline_in(outputs)("languages=[sw,yo]", DONE)
    return outputs


@pytest.fixture
def again(done, pipeline_in, tmp_path):
    """Runs stages on a copy of `done`: again("search", "languages=[sw]") gives its folder."""
    outputs = shutil.copytree(done, tmp_path / "outputs")

    def run(*words: str) -> Path:
        given = {word.partition("=")[0] for word in words}
        defaults = [word for word in ("languages=[sw,yo]", DONE) if word.split("=")[0] not in given]
        return pipeline_in(outputs)(*defaults, *words)

    return run


@pytest.fixture
def foreign(done, words_in, tmp_path, monkeypatch):
    """A copy of `done` and, in the current folder, its sparse lists as {language}.json.

    Gives the folder, the layout of the copy, and the words that commands take, languages aside.
    """
    monkeypatch.chdir(tmp_path)
    outputs = shutil.copytree(done, tmp_path / "outputs")
    layout = Layout(next(outputs.glob("*/bge_m3")))
    for language in ("sw", "yo"):
        lists = {
            qid: dict(zip(ranking.docids, ranking.scores.tolist(), strict=True))
            for qid, ranking in read_run(layout.run("sparse", language).trec).items()
        }
        (tmp_path / f"{language}.json").write_text(json.dumps(lists))
    words = [word for word in words_in(outputs) if not word.startswith("languages")]
    return tmp_path, layout, words


@pytest.fixture
def pipeline(pipeline_in, tmp_path):
    """The same with an output folder of the test's own: pipeline("embed", "languages=[sw]")."""
    return pipeline_in(tmp_path / "outputs")


def settings(outputs: Path, m3: Path, mirror: Path) -> list[str]:
    """What every stage is told: the random checkpoint, the miniature mirror, and where to write."""
    return [
        "benchmark.subset=true",
        "runtime.threads=1",
        "runtime.precision=fp32",
        "languages=[sw]",
        f"encoder.checkpoint={m3}",
        f"benchmark.root={mirror}",
        f"output_dir={outputs}",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
    ]


def run_stages(outputs: Path, m3: Path, mirror: Path, *words: str) -> Path:
    """Runs the stages and commands among the words, else all stages; the rest are settings."""
    run = STAGES | COMMANDS
    stages = [word for word in words if word in run] or list(STAGES)
    defaults = settings(outputs, m3, mirror)
    given = {word.partition("=")[0] for word in words}
    if "encoder" in given:  # another encoder's settings are the caller's
        given.add("encoder.checkpoint")
    overrides = [word for word in defaults if word.partition("=")[0] not in given]
    overrides += [word for word in words if word not in run]
    folder = Path()
    for stage in stages:
        setup = check(compose(*overrides, config=stage if stage in COMMANDS else "config"))
        run[stage](setup)
        folder = setup.layout.folder
    return folder
