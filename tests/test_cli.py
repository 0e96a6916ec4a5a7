"""The command line: what words mean, what is said of wrong ones, how a call ends, what it costs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from m3eval import cli
from m3eval.__main__ import main
from m3eval.commands.help import SETTINGS, WIDTH
from m3eval.commands.table import COMMANDS, NAMES
from m3eval.config import check, compose, composition, tree
from m3eval.errors import UserError
from m3eval.quoting import literal
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "pandas", "faiss", "numba", "scipy.stats", "scipy.sparse")
HEAVY += ("numpy", "datasets", "pyarrow", "huggingface_hub", "sentence_transformers", "tokenizers")


def start(*words: str, **options) -> subprocess.CompletedProcess:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "m3eval", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        **options,
    )


def imported(*words: str, cwd: Path) -> set[str]:
    """The heavy modules that a call has imported when it ends."""
    code = (
        "import json, sys; from m3eval.__main__ import main; main(sys.argv[1:]); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        timeout=300,
        cwd=cwd,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["languages=fa"], "languages", ["fa"]),
        (["languages=ko,fa"], "languages", ["ko", "fa"]),
        (["languages=[ko, fa]"], "languages", ["ko", "fa"]),
        (["languages=[ko,", "fa]"], "languages", ["ko", "fa"]),
        (["languages=no"], "languages", ["no"]),
        (["representations=dense"], "representations", ["dense"]),
        (["benchmark.metrics=nDCG@10,R@100"], "benchmark.metrics", ["nDCG@10", "R@100"]),
        (["output_dir=~/m3 eval"], "output_dir", str(Path.home() / "m3 eval")),
        (["output_dir=/tmp/Übung (1)/评测"], "output_dir", "/tmp/Übung (1)/评测"),
        (["output_dir=/tmp/a,b=c's"], "output_dir", "/tmp/a,b=c's"),
        (["encoder.label=my M3, tuned (v2)"], "encoder.label", "my M3, tuned (v2)"),
        (["encoder.label='my M3'"], "encoder.label", "my M3"),
        (["encoder.name=2024"], "encoder.name", "2024"),
        (["runtime.device=cuda:1"], "runtime.device", "cuda:1"),
        (
            ["encoder.windows={size: 512, stride: 256}", "encoder=pooled"],
            "encoder.windows.size",
            512,
        ),
        (
            ["+benchmark.retrieval.weights.mine.dense=1"],
            "benchmark.retrieval.weights.mine.dense",
            1,
        ),
    ],
)
def test_words_mean_what_people_mean(words, key, value):
    assert OmegaConf.select(composition(words).cfg, key) == value


def test_a_choice_of_several_needs_no_brackets():
    for word in ("retriever=dense,sparse", "retriever=[dense,sparse]", "retriever=[dense, sparse]"):
        assert list(composition([word]).cfg.retriever) == ["dense", "sparse"]


@pytest.mark.parametrize(
    "text", ['a "b"', "c\\", '\\"', "a\\b", "ü's, (x)", "{a: [b]}", "1", "", "@", "a:"]
)
def test_a_text_survives_its_quotes(text):
    word = f"encoder.label={literal(text)}"
    assert composition([word]).cfg.encoder.label == text


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("langauges=[en]", "unknown setting langauges: did you mean languages?"),
        ("+langauges=[en]", "did you mean languages?"),
        ("runtime.shardsize=3", "did you mean runtime.shard_size?"),
        ("shard_size=3", "did you mean runtime.shard_size?"),
        ("systems=[dense,all]", "it is one of m3eval compare"),
        ("encoder=e5_smal_q4", "did you mean e5_small_q4.*`m3eval list encoders`"),
        ("retriever=[dens]", "did you mean dense.*`m3eval list retrievers`"),
        ("retriever.bm25.k1=1", "bm25 is not configured; add it, as in retriever=.*,bm25]"),
        ("encoder.checkpoint.x=1", "has no parts"),
        ("store.dense=int8", "has parts, to be set one by one: store.dense.dimensions="),
        ("dense", r"did you mean retriever=\[dense\]\?"),
        ("fa", "words are setting=value"),
        ("encoder=bge_m3,me5_large", "takes one choice. With -m"),
        ("runtime.shard_size=2,4", "takes one value. With -m"),
        ("encoder=null", "name a choice"),
        ("+languages=[en]", "exists already"),
        ("~languages", "cannot be left out"),
        ("retriever.multi_vector.inputs=[bm52]", "builds on bm52, which does not exist"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(word, said):
    with pytest.raises(UserError, match=said) as error:
        composition([word])
    assert "+langauges" not in str(error.value) and "struct" not in str(error.value)


def test_all_wrong_words_are_named_together():
    with pytest.raises(UserError) as error:
        composition(["langauges=[en]", "encoder=e5_smal_q4", "fa", "runtime.threds=1"])
    for part in ("langauges", "e5_smal_q4", "fa: words", "runtime.threads?"):
        assert part in str(error.value)


def test_what_a_retriever_builds_on_comes_in_before_it():
    made = composition(["retriever=[all]"])
    assert list(made.cfg.retriever) == ["dense", "multi_vector", "all"]
    assert made.notes == ("retrievers added, for others build on them: dense, multi_vector",)
    made = composition(["retriever=[multi_vector]", "retriever.multi_vector.inputs=[bm25]"])
    assert list(made.cfg.retriever) == ["bm25", "multi_vector"]
    made = composition(["retriever=[all,multi_vector,dense]"])  # whole: the order is the user's
    assert list(made.cfg.retriever) == ["all", "multi_vector", "dense"] and not made.notes


def test_there_is_no_encoder_where_none_is_needed_or_named():
    def name(*words):
        return composition(words).cfg.encoder.name

    assert name("retriever=[bm25s]") == name("experiment=demo", "retriever=[bm25]") == "no_encoder"
    assert name("retriever=[bm25s]", "encoder=bge_m3") == "bge_m3"
    assert name("retriever=[bm25s]", "encoder.name=plain") == "plain"
    assert name("retriever=[bm25_tokens]") == name("retriever=[bm25,dense]") == "bge_m3"


def test_a_checked_configuration_is_the_same_as_before(tmp_path):
    cfg = compose("experiment=demo", "retriever=[dense,dense_sparse]")
    before = OmegaConf.to_container(cfg)
    check(cfg)
    assert OmegaConf.to_container(cfg) == before


EVERY = [*COMMANDS, *(command.other for command in COMMANDS if command.other)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_fits_a_screen(command, capsys):
    assert main([command.name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 14 <= len(lines) <= 40 and max(map(len, lines)) <= WIDTH
    assert lines[0].startswith(f"usage: m3eval {command.name}")
    for each in filter(None, (command, command.other)):
        cfg = composition(each.fixed, each.config).raw
        for setting in {*each.settings} - {"lineup"}:
            *above, last = setting.split(".")
            node = OmegaConf.select(cfg, ".".join(above)) if above else cfg
            assert setting in SETTINGS and last in [*node], setting  # also one without a default


def test_examples_of_help_compose():
    for command in EVERY:
        for example in command.examples:
            words = shlex.split(example.partition(" <")[0])
            assert cli.find(command.name, words) is command
            composition([*command.fixed, *cli.named(command, words)], command.config)


@pytest.mark.parametrize("group", ["encoder", "benchmark", "retriever", "experiment", "lineup"])
def test_every_choice_says_what_it_is_in_a_line(group, capsys):
    assert main(["list", f"{group}s"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == tree.choices(group)
    assert all(len(line) <= WIDTH and line.endswith(".") for line in lines)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "usage: m3eval COMMAND"),
        (["--help"], 0, "usage: m3eval COMMAND"),
        (["--version"], 0, "m3eval 0."),
        (["serach"], 2, "did you mean m3eval search?"),
        (["search", "--hlep"], 2, "there is no such option"),
        (["site", "--runs", "outputs"], 2, "runs=VALUE"),
        (["gate", "experiment=demo", "gaet.write=true"], 2, "did you mean gate.write"),
        (["list", "encodrs"], 2, "did you mean encoders?"),
        (["info"], 2, "must be given: path="),
        (["site", "benchmark.root=/x"], 2, "unknown setting benchmark.root"),
        (["embed", "benchmark=folder"], 2, "must be given: benchmark.name=, benchmark.root="),
        (["embed", "languages=[xx]"], 2, "choose among ar, bn"),
        (["embed", "--config-dir", "/nowhere"], 2, "there is no such folder"),
        (["embed", "--cfg", "all"], 2, "invalid choice"),
    ],
)
def test_how_a_call_ends(words, status, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == status
    assert said in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # nothing is written before a configuration is accepted


def test_a_defect_of_m3eval_is_no_verdict(capsys, monkeypatch):
    monkeypatch.setattr(cli, "call", lambda *_: 1 / 0)
    assert main(["gate", "experiment=demo"]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interruption_is_no_traceback(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "call", interrupt)
    assert main(["embed"]) == 130
    assert "Run the same command again" in capsys.readouterr().out


def test_ctrl_c_while_modules_are_imported(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "m3eval", "demo", f"output_dir={tmp_path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        # A process in the background of a shell ignores the signal, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    process.stdout.readline()  # the heading: what encodes is imported next
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Interrupted" in out and "Traceback" not in err, err


@needs("bm25s")
def test_a_pipe_that_closes_ends_nothing_early(tmp_path):
    """As `| head -1` closes it: files are written all the same, and nobody is told off."""
    words = f"demo languages=en retriever=bm25s output_dir={tmp_path}"
    command = f"{sys.executable} -m m3eval {words} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.startswith("m3eval ") and len(done.stdout.splitlines()) == 1
    assert (tmp_path / "demo/no_encoder/scores/scores.json").exists()


def test_several_calls_in_one_end_with_the_first_that_fails(capsys, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(cli, "call", lambda command, words, show: called.append(words))
    assert main(["search", "-m", "languages=ko,fa", "encoder=bge_m3,mdpr"]) == 0
    assert called == [
        [f"languages={language}", f"encoder={encoder}"]
        for language in ("ko", "fa")
        for encoder in ("bge_m3", "mdpr")
    ]


def test_cfg_job_prints_what_was_composed(capsys):
    assert main(["tune", "experiment=demo", "hybrid=all", "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.benchmark.name == "demo" and printed.hybrid == "all"
    assert printed.retriever.all.weights_from is None


def test_choices_of_your_own(tmp_path, capsys):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine.yaml").write_text(
        "# My own encoder.\n# m3eval embed encoder=mine\ndefaults: [bge_m3, _self_]\nname: mine\n"
    )
    assert main(["list", "encoders", "--config-dir", str(tmp_path)]) == 0
    assert re.search(r"mine +My own encoder\.", capsys.readouterr().out)
    assert main(["search", "encoder=mine", "--config-dir", str(tmp_path), "--cfg", "job"]) == 0
    assert OmegaConf.create(capsys.readouterr().out).encoder.name == "mine"
    with pytest.raises(UserError, match="there is no encoder mine"):
        composition(["encoder=mine"])


def test_the_log_has_words_and_configuration_and_no_secrets(tmp_path):
    words = ["encoder=openai", "encoder.base_url=https://me:pw@host/v1", "encoder.name=x y"]
    words += [f"output_dir={tmp_path}", "retriever=[dense]", "+encoder.api_key=sk-1"]
    made = composition(words)
    command = cli.find("embed")
    folders = [cli.log(command, made, tmp_path) for _ in range(2)]
    assert len({*folders}) == 2 and folders[0].parent == tmp_path / "logs/embed"
    line = (folders[0] / "command.txt").read_text()
    config = OmegaConf.load(folders[0] / "config.yaml")
    assert "'encoder.name=x y'" in line and "api_key=***" in line
    assert config.encoder.base_url == "https://***@host/v1" and config.encoder.api_key == "***"
    assert config.encoder.name == "x y" and config.runtime.token_budget == "auto"
    written = "".join(path.read_text() for path in folders[0].iterdir())
    assert "sk-1" not in written and "pw" not in written


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["search", "--help"],
        ["serach"],
        ["search", "langauges=[en]"],
        ["search", "runtime.shard_size=0"],
        ["embed", "experiment=demo", "languages=[xx]"],
        ["list", "encoders"],
        ["info", "nowhere"],
        ["gate", "experiment=demo", "--cfg", "job"],
    ],
    ids=" ".join,
)
def test_what_computes_nothing_imports_nothing_heavy(words, tmp_path):
    assert imported(*words, cwd=tmp_path) <= {"numpy"}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["search", "langauges=[en]"],
        ["search", "retriever=[dens]"],
        ["list", "encoders"],
    ],
    ids=" ".join,
)
def test_words_alone_need_no_numpy(words, tmp_path):
    assert imported(*words, cwd=tmp_path) == set()


def test_what_finds_everything_finished_imports_little(tmp_path):
    words = ["experiment=demo", "languages=en", "runtime.threads=1", f"output_dir={tmp_path}"]
    assert start("run", *words).returncode == 0
    for stage in ("embed", "search"):
        assert not imported(stage, *words, cwd=tmp_path) & {"torch", "transformers", "faiss"}


def test_both_ways_in_are_one():
    assert start("--version").stdout == "m3eval 0.1.0\n"
    assert {command.name for command in COMMANDS} == {*NAMES} and len(NAMES) == 23


def test_one_line_says_that_stage_0_is_missing(tmp_path, capsys):
    words = ["benchmark=demo", "encoder=e5_small_q4", f"output_dir={tmp_path}"]
    assert main(["search", *words]) == 2
    (line,) = capsys.readouterr().out.partition("Error: ")[2].splitlines()
    assert "/stores/corpus-ar does not exist: run `m3eval embed`" in line
    assert line.endswith("35 more stores are missing, too.")
    assert main(["evaluate", *words, "languages=[ko,fa]"]) == 2
    (line,) = capsys.readouterr().out.partition("Error: ")[2].splitlines()
    assert "fa.trec does not exist: run `m3eval search`" in line and "9 more runs" in line
