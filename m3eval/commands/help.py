"""What `--help` prints: a screen for each command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from m3eval import __version__
from m3eval.commands.table import COMMANDS, Command
from m3eval.config import tree

WIDTH = 80
TRAINING = "Training: "  # what the description of an experiment of `m3eval train` begins with
# Setting -> how it is written, and what it does.
SETTINGS = {
    "languages": ("languages=[ko,fa]", "of the benchmark; default: all it has"),
    "benchmark.root": ("benchmark.root=/mirror", "files on this machine; default: the hub's"),
    "benchmark.name": ("benchmark.name=mine", "folder under output_dir, and name in tables"),
    "benchmark.split": ("benchmark.split=train", "which queries; default: what papers report"),
    "benchmark.metrics": ("benchmark.metrics=[nDCG@10]", "also R@k, RR@k, AP@k, P@k, Success@k"),
    "benchmark.retrieval.depth": ("benchmark.retrieval.depth=100", "documents of a run per query"),
    "encoder.checkpoint": ("encoder.checkpoint=/models/m3", "a folder or a name on the hub"),
    "encoder.revision": ("encoder.revision=main", "commit, tag or branch on the hub"),
    "encoder.name": ("encoder.name=mine", "the folder of its stores and runs"),
    "retriever": ("retriever=[dense,bm25]", "which; what they build on comes in by itself"),
    "representations": ("representations=[dense]", "what is stored; default: all there is"),
    "output_dir": ("output_dir=/data/out", "where everything goes (outputs); also s3://"),
    "overwrite": ("overwrite=true", "make again what is there already"),
    "repair": ("repair=true", "make just the damaged shards again"),
    "plan_only": ("plan_only=true", "counts, sizes and time of stage 0, then stop"),
    "tolerance": ("tolerance=0.3", "points within which a published score is met"),
    "report_to": ("report_to=[tensorboard]", "or wandb, mlflow: scores and costs go there, too"),
    "runtime.device": ("runtime.device=cuda:1", "default: a GPU if there is one, else cpu"),
    "runtime.precision": ("runtime.precision=fp32", "or fp16, bf16, int8; default: by device"),
    "runtime.threads": ("runtime.threads=4", "CPU threads; default: all cores"),
    "runtime.share": ("runtime.share=3/8", "part 3 of 8, from 0; docs/scale.md"),
    "devices": ("devices=8xH100", "who would encode; default: this machine"),
    "tokens_per_second": ("tokens_per_second=90000", "of one device, measured"),
    "utilisation": ("utilisation=0.5", "of a device's stated rate; default: 0.4"),
    "published": ("published=true", "published counts and sizes; nothing is read"),
    "price": ("price=24", "of an hour of all devices"),
    "systems": ("systems=[dense,all]", "what is compared: RETRIEVER, ENCODER/RETRIEVER"),
    "lineup": ("lineup=small", "systems under one name: m3eval list lineups"),
    "baseline": ("baseline=dense", "what others are held against; default: the first"),
    "all_pairs": ("all_pairs=true", "every system against every other"),
    "test": ("test=t", "a t test; default: permutation"),
    "resamples": ("resamples=10000", "of the permutation test and the intervals"),
    "alpha": ("alpha=0.05", "corrected p values below it get a mark"),
    "accept": ("accept=[max_length]", "differences that you accept; tables say so"),
    "gate.file": ("gate.file=gates/mine.yaml", "default: gates/BENCHMARK/ENCODER.yaml"),
    "gate.write": ("gate.write=true", "write the file from runs that you trust"),
    "gate.strict": ("gate.strict=true", "drift fails, too"),
    "hybrid": ("hybrid=all", "the retriever whose weights are sought"),
    "step": ("step=0.1", "all weights that sum to 1 in such steps"),
    "grid": ("'grid={dense: [1]}'", "instead: a list for each component"),
    "weights_file": ("weights_file=FILE", "what is written"),
    "results": ("FOLDER ...", "everything below them; without any, outputs"),
    "runs": ("runs=[outputs/demo/mine]", "folders whose runs must be readable"),
    "title": ("title='Our board'", "the name of the site"),
    "url": ("url=https://example.org/x", "where it will stand, for previews"),
    "out": ("out=FOLDER", "the folder that is written"),
    "run": ("run=[mine.trec,b.json]", "TREC, ranx's JSON, mteb's predictions"),
    "qrels": ("qrels=qrels.tsv", "'qid 0 docid grade', or BEIR's columns"),
    "metrics": ("metrics=[nDCG@10,AP]", "also R@k, RR@k, P@k, Success@k"),
    "subset": ("subset=ko", "of mteb's predictions; so split=dev"),
    "depth": ("depth=5", "documents of each list that are shown"),
    "megabytes": ("megabytes=30", "of a benchmark's single queries"),
    "weights_step": ("weights_step=0.1", "of hybrids' weights; 0: no table of them"),
    "pictures": ("pictures=[]", "none; default: by language, recall by depth"),
    "plots": ("plots=[languages,cost]", "also depth, weights, queries; default: all"),
    "formats": ("formats=[svg]", "svg, png; default: both"),
    "path": ("PATH", "a store, a run, a result, or their folder"),
    "check": ("check=true", "read every file whole: is it as it was written?"),
    "documents": ("documents=true", "also quality by length of documents"),
    "text": ("'text=...'", "what to decode; default: lines of standard input"),
    "role": ("role=document", "decides prefixes and lengths; default: query"),
    "k": ("k=30", "terms to print; null: all"),
    "with_encoder": ("with_encoder=true", "also the encoder's checkpoint"),
    "check_only": ("check_only=true", "fetch nothing, check what is there"),
    "name": ("name=mine", "its folder; of a run, its name in tables"),
    "folder": ("folder=train", "where {benchmark.name}-{language}.jsonl go"),
    "negatives": ("negatives=7", "of a question; 0: none, and no run is needed"),
    "mined_from": ("mined_from=dense", "the retriever whose runs have candidates"),
    "ranks": ("ranks=[10,210]", "from which ranks"),
    "judged_by": ("judged_by=cross_encoder", "a retriever whose scores the margin is about"),
    "margin": ("margin=0.1", "how far below the weakest positive"),
    "neg_q": ("neg_q=true", "negatives answer another question: for CLP"),
    "never": ("never=[/data/*/queries.tsv]", "questions that must not be trained on"),
    "most": ("most=400", "examples of a language, drawn at random"),
    "start": ("start=BAAI/bge-m3", "a folder, a name on the hub, or e5_small_q4"),
    "seed": ("seed=1", "of new heads, the order of examples, dropout"),
    "data.files": ("data.files=[mine.jsonl]", "examples: {query, pos, neg} a line"),
    "data.group": ("data.group=8", "documents of a question: one answers it"),
    "data.batch_sizes": ("data.batch_sizes=[[512,32]]", "questions of a step by length in tokens"),
    "objective.only_train": ("objective.only_train=[heads.]", "all else stays as it is"),
    "trainer.steps": ("trainer.steps=1000", "instead of trainer.epochs=1"),
    "trainer.learning_rate": ("trainer.learning_rate=1e-5", "the highest"),
    "trainer.gradient_cache": ("trainer.gradient_cache=true", "memory of part_size texts"),
    "trainer.save_every": ("trainer.save_every=500", "steps between two checkpoints"),
    "format": ("FORMAT", "mteb, model-card, ranx, parquet, csv or latex"),
    "task": ("task=MIRACLRetrieval", "of mteb: what it calls the benchmark"),
    "shell": ("SHELL", "bash, zsh or fish"),
    "group": ("GROUP", "encoders, benchmarks, retrievers, lineups ..."),
}


def overview() -> str:
    """All commands, a line each."""
    lines = [
        f"m3eval {__version__}: does a multilingual retriever do what its paper says?",
        "",
        "usage: m3eval COMMAND [SETTING=VALUE ...]",
        "",
        *(f"  {command.name:10} {command.summary}" for command in COMMANDS),
        "",
        "Begin with `m3eval demo`. Give all commands the same words; each reads what the one",
        "before wrote. `m3eval COMMAND --help` says more of one.",
    ]
    return "\n".join(lines)


def of(command: Command) -> str:
    """A screen about one command."""
    return "\n".join(_lines(command))


def _lines(command: Command) -> Iterator[str]:
    words = "".join(f" {name.upper()}" for name in command.plain)
    yield f"usage: m3eval {command.name}{words} [SETTING=VALUE ...]"
    yield from ("", *textwrap.wrap(command.about, WIDTH), "", "Examples")
    for example in command.examples:
        yield f"  m3eval {command.name} {example}".rstrip()
    if command.groups:
        yield from ("", "Choices (m3eval list encoders says what each is, and so on)")
    for group in command.groups:
        yield from _wrapped(group, _choices(command, group))
    yield from ("", f"Settings that people change (all: m3eval {command.name} --cfg job)")
    for name in command.settings:
        written, does = SETTINGS[name]
        yield f"  {written:30}{does}"
    if other := command.other:
        more = f"{other.about} `m3eval {other.name} {other.asked_by[0]}= --help` says more."
        yield from ("", *textwrap.wrap(more, WIDTH), f"  m3eval {other.name} {other.examples[0]}")
    yield from (
        "",
        "Options: -m (a call for each value of A,B), --cfg job (show the configuration),",
        "  --config-dir DIR (choices of your own), --help, --version",
    )


def _choices(command: Command, group: str) -> list[str]:
    """The names of a group's choices; of experiments those that are of the command's kind."""
    names = tree.choices(group)
    if group != "experiment":
        return names
    trains = command.name == "train"
    return [name for name in names if trains == tree.description(group, name).startswith(TRAINING)]


def _wrapped(group: str, names: list[str]) -> list[str]:
    """The names of a group's choices, in as many lines as they need."""
    return textwrap.wrap(
        ", ".join(names), WIDTH, initial_indent=f"  {group:12}", subsequent_indent=" " * 14
    )
