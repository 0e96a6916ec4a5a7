"""Settings are typed as a whole: what each takes stands in the code, and nothing else is taken."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf

from m3eval import kinds
from m3eval.__main__ import main
from m3eval.commands import compare
from m3eval.config import CONFIG_DIR, check, compose, composition, schema, tree
from m3eval.errors import UserError
from m3eval.expected import read_gate
from m3eval.metrics import significance

ROOT = CONFIG_DIR.parent
POOLED = ["encoder=pooled", "encoder.name=x", "encoder.checkpoint=/x"]


def refused(*words: str, config: str = "config") -> str:
    """What is said of words; nothing else of the configuration is wrong."""
    with pytest.raises(UserError) as error:
        check(compose(*words, config=config))
    return str(error.value)


@pytest.mark.parametrize("value", ["no", "off", "0", "1", "yes", "null", "[]", "'false'", "nein"])
@pytest.mark.parametrize(
    "key", ["overwrite", "plan_only", "encoder.trust_remote_code", "benchmark.subset"]
)
def test_only_true_and_false_are_booleans(key, value):
    words = [*POOLED, "encoder.pooling=mean"] if key.startswith("encoder") else []
    assert f"{key}=" in (said := refused(*words, f"{key}={value}")) and "true or false" in said


@pytest.mark.parametrize(
    ("word", "takes"),
    [
        ("benchmark.retrieval.depth=ten", "takes a whole number from 1"),
        ("benchmark.retrieval.depth=0", "takes a whole number from 1"),
        ("benchmark.retrieval.depth=1.5", "takes a whole number from 1"),
        ("benchmark.retrieval.depth=true", "takes a whole number from 1"),
        ("benchmark.retrieval.rerank_depth=-1", "takes a whole number from 1"),
        ("runtime.threads=all", "takes a whole number from 1 to 4,096 or auto"),
        ("runtime.threads=100000000000", "takes a whole number from 1 to 4,096 or auto"),
        ("runtime.shard_size=null", "takes a whole number from 1"),
        ("runtime.device=gpu", "takes auto, cpu, cuda or cuda:NUMBER"),
        ("runtime.precision=int4", "takes auto, fp32, fp16, bf16 or int8"),
        ("runtime.java_heap=4", "takes memory as Java writes it"),
        ("runtime.vector_cache_gb=nan", "takes a number of at least 0"),
        ("tolerance=nan", "takes a number of at least 0"),
        ("tolerance=inf", "takes a number of at least 0"),
        ("tolerance=-1", "takes a number of at least 0"),
        ("store.multi_vector.limit_gb=ten", "takes a number of at least 0"),
        ("store.dense.type=int4", "takes float16, float32, int8 or binary"),
        ("benchmark.retrieval.weights.all.dense=nan", "takes a number of at least 0"),
        ("benchmark.retrieval.weights.all.dense=-1", "takes a number of at least 0"),
        ("retriever.all.weights={dense: 0}", "takes a number of at least 0"),
        ("benchmark.text.document_fields=[]", "takes a list of at least one"),
        ("benchmark.text.document_fields=[body]", "takes title or text"),
        ("benchmark.metrics=[]", "takes a list of at least one"),
        ("benchmark.metrics=[ndgc@10]", "takes nDCG@k, R@k"),
        ("representations=colbert", "takes dense, sparse, multi_vector or term_vectors"),
        ("languages=[]", "takes a list of at least one"),
        ("languages=[../x]", "takes one name"),
        ("output_dir=null", "takes a text"),
        ("encoder.checkpoint=null", "takes a text"),
        ("retriever.sparse.quantise=ceil", "takes none, ceil100 or ceil100_fp16"),
    ],
)
def test_a_value_of_another_kind_is_answered_with_what_is_taken(word, takes):
    if word.startswith("retriever.all.weights"):
        word = "retriever.all.weights={dense: nan}"
    assert takes in refused(word)


@pytest.mark.parametrize(
    ("words", "takes"),
    [
        ([*POOLED, "encoder.pooling=avg"], "encoder.pooling=avg: takes cls, mean or last"),
        (["retriever=[bm25s]", "retriever.bm25s.k1=-1"], "k1=-1: takes a number of at least 0"),
        (["retriever=[bm25s]", "retriever.bm25s.b=1.1"], "b=1.1: takes a number from 0 to 1"),
        (["retriever=[bm25s]", "retriever.bm25s.b=nan"], "b=nan: takes a number from 0 to 1"),
        (["retriever=[bm25s]", "retriever.bm25s.fill=no"], "takes true or false"),
        (["encoder=openai", "encoder.timeout=0"], "encoder.timeout=0: takes a number above 0"),
        (["encoder=openai", "encoder.confirm_cost=no"], "takes true or false"),
        (["encoder=e5_small_q4", "encoder.windows={size: 0, stride: 1}"], "windows.size=0"),
        (["encoder=splade_tiny", "encoder.k_tokens.query=0"], "query=0: takes a whole number"),
    ],
)
def test_what_a_target_takes_stands_in_its_signature(words, takes):
    assert takes in refused(*words)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("compare", "alpha=0"),
        ("compare", "confidence=nan"),
        ("compare", "resamples=10"),
        ("compare", "seed=-1"),
        ("compare", "test=wilcoxon"),
        ("compare", "all_pairs=no"),
        ("gate", "gate.tolerance.wrong=nan"),
        ("gate", "gate.tolerance.drift=-0.1"),
        ("gate", "gate.write=no"),
        ("gate", "gate.queries=0"),
        ("tune", "step=0"),
        ("tune", "step=nan"),
        ("tune", "grid={dense: [nan]}"),
        ("decode", "k=0"),
        ("mirror", "check_only=no"),
    ],
)
def test_settings_of_single_commands(config, word):
    assert word.partition("=")[0] in refused(word, config=config)


@pytest.mark.parametrize("words", [["info", "x", "documents=no"], ["site", "depth=ten"]])
def test_commands_without_a_benchmark_check_theirs_too(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "takes" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_one_list_of_all_that_is_wrong():
    said = refused("overwrite=no", "benchmark.retrieval.depth=ten", "runtime.precision=fp8")
    for key in ("overwrite", "benchmark.retrieval.depth", "runtime.precision"):
        assert said.count(f"{key}=") == 1, said
    with pytest.raises(UserError) as error:  # words that nothing answers to stand beside them
        composition(["overwrite=no", "langauges=[en]"])
    assert "did you mean languages?" in str(error.value) and "true or false" in str(error.value)


@pytest.mark.parametrize("text", ["2023", "1e5", "007", "12345678", "true", "1_000", "0x10", ".5"])
def test_names_and_hashes_stay_as_typed(text):
    words = [f"benchmark.name={text.replace('.', 'x')}", f"encoder.revision={text}"]
    cfg = compose(*words, f"benchmark.label={text}", f"languages=[{text},ko]")
    check_of = (cfg.encoder.revision, cfg.benchmark.label, cfg.languages[0])
    assert check_of == (text, text, text) and cfg.benchmark.name == text.replace(".", "x")


def test_a_single_word_is_a_list_of_one():
    for word in ("languages=007", "benchmark.metrics=ndcg@10", "representations=dense"):
        key, _, value = word.partition("=")
        found = OmegaConf.select(compose(word), key)
        assert [str(item).lower() for item in found] == [value]
    assert list(compose("runs=a", config="site").runs) == ["a"]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("ndcg@10", "nDCG@10"),
        ("ndcg_at_10", "nDCG@10"),
        ("NDCG_cut_10", "nDCG@10"),
        ("MRR@10", "RR@10"),
        ("recip_rank", "RR"),
        ("recall@100", "R@100"),
        ("recall_100", "R@100"),
        ("Recall_at_100", "R@100"),
        ("map", "AP"),
        ("map_at_100", "AP@100"),
        ("precision@5", "P@5"),
        ("success_5", "Success@5"),
    ],
)
def test_metrics_have_one_name(written, canonical):
    assert list(compose(f"benchmark.metrics=[{written}]").benchmark.metrics) == [canonical]


NOT_NAMES = ["../../evil", "a/b", "..", ".", "''", "-rf", ".hidden", "a\\b", "a:b", "a*", "'a '"]


@pytest.mark.parametrize("name", [*NOT_NAMES, "n" * 121, "é" * 61, "'a\tb'", "'a\u202eb'"])
@pytest.mark.parametrize("key", ["benchmark.name", "encoder.name", "benchmark.split"])
def test_a_name_is_one_component_of_a_path(key, name):
    said = refused(f"{key}={name}")
    assert "takes one name" in said and said.isprintable()


@pytest.mark.parametrize(
    "name", ["mine", "BGE-M3 v2 (fp16)", "a.b", "x@1", "한국어", "हिन्दी", "e" * 120]
)
def test_names_of_any_script(name):
    assert kinds.is_name(name) and check(compose(f"encoder.name={name}")).cfg.encoder.name == name


@pytest.mark.parametrize(
    "system", ["org/model/dense", "../../evil/dense", "../dense", "a/..", "/x", "x/", "/runs/.x"]
)
def test_systems_are_names_or_folders_of_runs(system, tmp_path):
    words = ["benchmark=demo", "encoder=e5_small_q4", f"systems=[dense,{system}]"]
    setup = check(compose(*words, f"output_dir={tmp_path}", config="compare"))
    with pytest.raises(UserError, match=r"systems: .* is none: write RETRIEVER, ENCODER/RETRIEVER"):
        compare.systems_asked_for(setup)


WRONG = [("wrong: 0.3", "wrong: .nan"), ("drift: 0.01", "drift: -1")]


@pytest.mark.parametrize(("old", "new"), WRONG)
def test_a_gates_tolerances_are_numbers(old, new, tmp_path):
    text = (ROOT / "gates/demo/e5_small_q4.yaml").read_text()
    assert old in text
    (tmp_path / "gate.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=r"gate\.yaml: tolerance\.nDCG@10\..*at least 0"):
        read_gate(tmp_path / "gate.yaml")


@pytest.mark.parametrize("weights", ["{dense: .nan, sparse: 1.0}", "{dense: 0, sparse: 0.0}"])
def test_weights_of_a_file_are_numbers(weights, tmp_path):
    path = tmp_path / "w.yaml"
    on = "{benchmark: x, split: y, judged: {}, questions: {}}"
    path.write_text(f"retriever: dense_sparse\nweights: {weights}\ntuned_on: {on}\n")
    words = ["retriever=[dense,sparse,dense_sparse]", "benchmark=demo"]
    assert "retriever.dense_sparse.weights" in refused(
        *words, f"retriever.dense_sparse.weights_from={path}"
    )


def test_every_setting_that_is_shipped_has_a_kind():
    """Who adds a setting says at its use, or in `schema.Tree`, what it takes."""
    cfgs = [compose(config=path.stem) for path in CONFIG_DIR.glob("*.yaml")]
    cfgs += [compose(f"benchmark={name}") for name in tree.choices("benchmark")]
    cfgs += [compose(f"encoder={name}") for name in tree.choices("encoder")]
    cfgs += [compose(f"retriever=[{name}]") for name in tree.choices("retriever")]
    without = {
        key
        for cfg in cfgs
        for key, value in schema.leaves(tree.plain(cfg, resolve=False))
        if schema.reference(value) is None
        and not key.startswith("encoder.reference.files.")  # names of files, with dots
        and schema.kind_of(cfg, key) is Any
    }
    assert without == set()


def test_kinds_are_those_that_the_code_has():
    assert schema.hints(schema.Tree)["test"] == significance.Test


def test_private_files_are_held_to_the_same(tmp_path, capsys):
    (tmp_path / "encoder").mkdir()
    text = "# Mine.\n# m3eval embed encoder=mine\ndefaults: [pooled, _self_]\nname: {name}\n"
    text += "checkpoint: /x\npooling: mean\ntrust_remote_code: {trust}\n"
    words = ["embed", "encoder=mine", "--config-dir", str(tmp_path)]
    path = tmp_path / "encoder" / "mine.yaml"
    for name, trust, said in (
        ("2023", "false", "encoder.name=2023: takes a text; in a file, put it in quotes"),
        ("../x", "false", "encoder.name=../x: takes one name"),
        ("mine", "'no'", 'encoder.trust_remote_code="no": takes true or false'),
    ):
        path.write_text(text.format(name=name, trust=trust))
        assert main([*words, f"output_dir={tmp_path / 'out'}"]) == 2
        assert said in " ".join(capsys.readouterr().out.split())
    assert main([*words[:1], "-m", *words[1:], "overwrite=no,off"]) == 2
    assert 'overwrite="no"' in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, int, True),
        (True, int, False),
        (1, bool, False),
        (1, float, True),
        (math.nan, float, False),
        (math.inf, float, False),
        ("1", int, False),
        (None, int, False),
        (None, int | None, True),
        ("a", Literal["a", 1], True),
        (True, Literal["a", 1], False),
        ([1], list[int], True),
        (["1"], list[int], False),
        ("ab", list[str], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "x"}, dict[str, int], False),
        ([], Annotated[list[int], kinds.NOT_EMPTY], False),
        ({"a": 0.0, "b": 0}, kinds.Weights, False),
        ({"a": 0.0, "b": 1}, kinds.Weights, True),
        (object(), object, True),
    ],
)
def test_kinds(value, kind, fits):
    assert (not list(kinds.problems(value, kind, "x"))) == fits
