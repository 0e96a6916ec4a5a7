"""The commands of m3eval, as data: what each is called, does and needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command: `m3eval NAME words`."""

    name: str
    summary: str  # one line
    module: str  # whose run(setup) does the work; imported when the command is chosen
    about: str  # what it does, for its help
    examples: tuple[str, ...]  # words of commands that people start from
    settings: tuple[str, ...]  # keys of help.SETTINGS: what people change
    config: str = "config"  # the file under conf/ that it is composed from
    checked: bool = True  # whether it works with a configuration, which is checked first and logged
    groups: tuple[str, ...] = ("benchmark", "encoder", "retriever", "experiment")
    """Groups of choices that its help names."""
    plain: tuple[str, ...] = ()  # the settings that words without = give, one after the other
    listed: bool = False  # whether several words without = are one list of the only such setting
    fixed: tuple[str, ...] = ()  # words that are always there
    passes_on: bool = False  # whether words about other settings go to the configurations it reads
    other: Command | None = None  # what the name means where a word gives a setting of `asked_by`
    asked_by: tuple[str, ...] = ()

    def meant(self, words: Sequence[str]) -> Command:
        """The command that these words mean: this one, or the other of its name."""
        keys = {word.partition("=")[0] for word in words}
        return self.other if self.other and keys & {*self.other.asked_by} else self


_STAGE = (
    "languages",
    "benchmark.root",
    "encoder.checkpoint",
    "retriever",
    "output_dir",
    "overwrite",
    "runtime.device",
    "runtime.precision",
    "runtime.threads",
)

COMMANDS = (
    Command(
        "demo",
        "the three stages on the built-in benchmark and encoder",
        "m3eval.commands.run",
        "Encodes, searches and scores 18 languages with an encoder out of a wheel: no "
        "network, no GPU, under a minute on two cores. Ends with a table of scores. The same "
        "as `m3eval run experiment=demo`.",
        ("", "languages=[en,ko]", "retriever=[dense,bm25s]"),
        ("languages", "retriever", "output_dir", "overwrite", "runtime.threads"),
        fixed=("experiment=demo",),
    ),
    Command(
        "run",
        "the three stages, one after the other",
        "m3eval.commands.run",
        "Encodes what the retrievers read (m3eval embed), searches (m3eval search) and scores "
        "(m3eval evaluate). What is finished is found finished; run it again after an "
        "interruption.",
        (
            "experiment=demo",
            "languages=[ko,fa]",
            "benchmark=folder benchmark.name=mine benchmark.root=/data/mine",
        ),
        (*_STAGE, "plan_only"),
    ),
    Command(
        "embed",
        "stage 0: texts -> representations in stores",
        "m3eval.stages.embed",
        "Encodes a benchmark's documents and queries into dense, sparse and multi-vector "
        "representations. Finished shards are kept: run it again after an interruption.",
        (
            "experiment=demo",
            "languages=[ko,fa]",
            "languages=[sw] benchmark.root=/mirror encoder.checkpoint=/m3",
        ),
        (*_STAGE[:-1], "representations", "plan_only", "repair", "runtime.share"),
    ),
    Command(
        "merge",
        "finish the stores whose shards were made in shares",
        "m3eval.commands.merge",
        "After `m3eval embed runtime.share=0/8` to `7/8`, on any machines that share a folder: "
        "looks at every shard and finishes the stores, or names the shards that are missing. Give "
        "it the words of the shares, without runtime.share.",
        (
            "experiment=demo",
            "languages=[ko,fa]",
            "benchmark=miracl encoder=bge_m3 output_dir=/shared/outputs",
        ),
        ("languages", "benchmark.root", "encoder.checkpoint", "representations", "output_dir"),
    ),
    Command(
        "search",
        "stage 1: stores, or texts -> ranked lists",
        "m3eval.stages.search",
        "Searches with each configured retriever, and writes a run in TREC format for each of "
        "them and each language. BM25 reads texts and needs no stage 0.",
        (
            "experiment=demo",
            "languages=[ko,fa] retriever=[dense,sparse,dense_sparse]",
            "languages=[ko,fa] retriever=[bm25s]",
        ),
        (*_STAGE, "benchmark.retrieval.depth"),
    ),
    Command(
        "evaluate",
        "stage 2: ranked lists -> scores and tables",
        "m3eval.stages.evaluate",
        "Scores the runs of stage 1 and writes tables as Markdown, CSV and JSON with all that "
        "they rest on, and the score of every query. Published scores stand beside yours.",
        (
            "experiment=demo",
            "languages=[ko,fa] benchmark.metrics=[nDCG@10,R@100,RR@10]",
        ),
        (
            "languages",
            "benchmark.root",
            "encoder.name",
            "retriever",
            "benchmark.metrics",
            "tolerance",
            "report_to",
            "output_dir",
        ),
        other=Command(
            "evaluate",
            "files of runs, judgements -> scores, tests and tables",
            "m3eval.commands.judged",
            "With run= and qrels= it scores files that anybody made, without a benchmark.",
            (
                "run=mine.trec qrels=qrels.tsv",
                "run=[mine.trec,ranx.json] qrels=qrels.tsv metrics=[AP]",
            ),
            ("run", "qrels", "metrics", "subset", "out", "baseline", "test"),
            config="evaluate",
            checked=False,
            groups=(),
            asked_by=("run", "qrels"),
        ),
    ),
    Command(
        "import-run",
        "a run that others made, beside yours",
        "m3eval.commands.import_run",
        "Puts a file of ranked lists that anybody made (TREC's format, ranx's JSON, mteb's "
        "predictions) among the runs of a benchmark and scores it, so that compare, gate, systems, "
        "site and info know it. Ids are held against the benchmark's; tables say that it was made "
        "elsewhere.",
        (
            "benchmark=demo languages=[ko] run=theirs.trec name=theirs",
            "languages=[ko,fa] 'run={language}.trec' name=theirs",
            "languages=[ko] run=mteb_predictions.json subset=ko name=b",
        ),
        ("run", "name", "subset", "languages", "benchmark.root", "encoder.name", "output_dir"),
        config="import_run",
        groups=("benchmark", "encoder", "experiment"),
    ),
    Command(
        "compare",
        "is one system better than another? Paired tests over runs",
        "m3eval.commands.compare",
        "Compares runs of stage 1, query by query: differences with p values (corrected by "
        "Holm), intervals and effect sizes. Runs of other texts, lengths, depths or splits "
        "are refused.",
        (
            "experiment=demo systems=[dense,multi_vector,all] baseline=dense",
            "languages=[ko,fa] systems=[bge_m3/dense,mine/dense]",
            "systems=[dense,/other/outputs/miracl/bge_m3/runs/dense]",
        ),
        (
            "systems",
            "baseline",
            "all_pairs",
            "test",
            "resamples",
            "alpha",
            "accept",
            "languages",
            "benchmark.metrics",
            "output_dir",
        ),
        config="compare",
        groups=("benchmark", "encoder", "retriever", "experiment", "lineup"),
    ),
    Command(
        "gate",
        "are the scores still those they were? For continuous integration",
        "m3eval.commands.gate",
        "Holds the runs of stage 1 against expected scores. Ends with status 0 (ok, or "
        "drift), 1 (wrong; with gate.strict=true also drift) or 2 (nothing to compare, or a "
        "wrong word).",
        (
            "experiment=demo",
            "experiment=demo languages=[en,ko]",
            "experiment=demo gate.write=true",
        ),
        ("gate.file", "gate.write", "gate.strict", "languages", "retriever", "output_dir"),
        config="gate",
    ),
    Command(
        "tune",
        "weights of a hybrid, from a split that is not reported",
        "m3eval.commands.tune",
        "Tries weights of a hybrid on runs that stage 1 made of another split, and writes the "
        "best into a file for retriever.NAME.weights_from=FILE. Searches nothing again.",
        (
            "benchmark.split=train benchmark.name=miracl_train hybrid=all",
            "benchmark.split=train benchmark.name=miracl_train step=0.05",
            "hybrid=dense_bm25 'grid={dense: [1], bm25: [0.01, 0.02, 0.05]}'",
        ),
        (
            "hybrid",
            "step",
            "grid",
            "weights_file",
            "languages",
            "benchmark.split",
            "benchmark.name",
            "benchmark.metrics",
            "output_dir",
        ),
        config="tune",
    ),
    Command(
        "systems",
        "every stage for several systems, and one table",
        "m3eval.commands.systems",
        "Encodes, searches and scores each of several systems, then compares them all. A "
        "system is ENCODER/RETRIEVER, as `m3eval list` names them, or a retriever alone where "
        "it needs no encoder.",
        (
            "experiment=demo systems=[e5_small_q4/all,bm25s]",
            "experiment=demo lineup=small",
            "languages=[ko,fa] systems=[bge_m3/all,me5_large/dense]",
        ),
        (
            "systems",
            "lineup",
            "baseline",
            "all_pairs",
            "accept",
            "resamples",
            "languages",
            "benchmark.metrics",
            "output_dir",
            "runtime.precision",
        ),
        config="systems",
        groups=("benchmark", "encoder", "retriever", "experiment", "lineup"),
    ),
    Command(
        "site",
        "a leaderboard to publish, made of results",
        "m3eval.commands.site",
        "Makes static pages of every result that lies below the folders named, or below "
        "outputs: they open from disk, without a server. Of results that have their runs beside "
        "them they show also cost, weights and single queries. A file that was edited is refused. "
        "Other words replace what was recorded with the runs, such as benchmark.root=/data.",
        (
            "",
            "outputs/demo board/rows",
            "results out=public title=Ours url=https://example.org/board",
        ),
        ("results", "runs", "out", "depth", "megabytes", "weights_step", "title", "url"),
        config="site",
        checked=False,
        groups=(),
        plain=("results",),
        listed=True,
        passes_on=True,
    ),
    Command(
        "plot",
        "pictures of results, as SVG and PNG",
        "m3eval.commands.plot",
        "Draws quality by language with intervals, quality against cost, recall by depth, "
        "hybrids by their weights, and two systems query by query, of all that the results "
        "allow. Needs m3eval[plot]. Other words replace what was recorded with the runs, such as "
        "benchmark.root=/data.",
        (
            "outputs/demo/e5_small_q4",
            "results=[results] plots=[languages] formats=[svg]",
            "outputs systems=[e5_small_q4/all,bm25s] plots=[queries,depth]",
        ),
        ("runs", "results", "out", "plots", "formats", "systems", "weights_step"),
        config="plot",
        checked=False,
        groups=(),
        plain=("runs",),
        passes_on=True,
    ),
    Command(
        "info",
        "what is this store, run or result?",
        "m3eval.commands.info",
        "Describes what the stages left at a path: of which texts, by what, how big, finished "
        "or not, what it cost; of runs also how retrievers overlap, scores by rank and by "
        "length. check=true reads every file whole instead and ends with status 2 where one is "
        "not as it was written.",
        (
            "outputs/demo/e5_small_q4",
            "outputs/demo/e5_small_q4/stores/corpus-ko",
            "outputs/demo/e5_small_q4 check=true",
        ),
        ("path", "check", "documents"),
        config="info",
        checked=False,
        groups=(),
        plain=("path",),
    ),
    Command(
        "export",
        "scores and runs as other tools read them",
        "m3eval.commands.export",
        "Writes a result as mteb's results, as a model card's metadata, as scores of single "
        "queries (parquet, csv) or as tables for papers (latex); runs and judgements as ranx "
        "reads them. Nothing is scored again.",
        (
            "mteb outputs/demo/e5_small_q4",
            "parquet outputs/demo/e5_small_q4 out=tables",
            "model-card results/xquad/e5_small_q4",
        ),
        ("format", "path", "out", "task"),
        config="export",
        checked=False,
        groups=(),
        plain=("format", "path"),
    ),
    Command(
        "plan",
        "what would the stages take? Hours, bytes, memory",
        "m3eval.commands.plan",
        "Foresees tokens, floating-point operations, hours, bytes and memory of each stage, and "
        "does nothing. Where texts and encoder are at hand a sample is encoded; else published "
        "counts and sizes are taken, and it says so.",
        (
            "benchmark=miracl encoder=bge_m3 devices=8xH100",
            "experiment=demo",
            "languages=[sw] benchmark.root=/mirror devices=A100",
        ),
        (
            "devices",
            "tokens_per_second",
            "utilisation",
            "published",
            "price",
            "languages",
            "benchmark.root",
            "encoder.checkpoint",
            "representations",
        ),
        config="plan",
    ),
    Command(
        "verify",
        "is this checkpoint BGE-M3?",
        "m3eval.commands.verify",
        "Encodes the worked example that BGE-M3's authors publish and compares all 60 values "
        "that they print. Ends with status 0 when all agree, 1 when some differ, 2 when it "
        "cannot be done. Of the encoder settings only those below matter; a benchmark is not "
        "read.",
        (
            "",
            "encoder.checkpoint=/models/bge-m3",
            "encoder.checkpoint=/models/bge-m3 runtime.precision=fp32",
        ),
        (
            "encoder.checkpoint",
            "encoder.revision",
            "runtime.device",
            "runtime.precision",
            "runtime.threads",
        ),
        groups=("encoder",),
    ),
    Command(
        "decode",
        "the terms that an encoder gives a text",
        "m3eval.commands.decode",
        "Prints the terms of a text's sparse representation, heaviest first. Without text= "
        "every line of standard input is decoded, whatever signs it has. Latent terms are "
        "numbers.",
        (
            "encoder=splade_tiny 'text=What is the capital of France?'",
            "encoder=latent_sparse role=document k=null < texts.txt",
            "encoder.checkpoint=/models/bge-m3 k=50 'text=Was ist BM25?'",
        ),
        ("text", "role", "k", "encoder.checkpoint", "runtime.device", "runtime.precision"),
        config="decode",
        groups=("encoder",),
    ),
    Command(
        "mirror",
        "copy a benchmark's files from the hub into a folder",
        "m3eval.commands.mirror",
        "Copies a benchmark's files from the hub into a folder, with checksums. On machines "
        "that have no hub, give the stages the same benchmark.root=. Run it again after an "
        "interruption: what is there and whole is kept.",
        (
            "benchmark=mldr languages=[hi] benchmark.root=/mirror",
            "languages=[sw,yo] benchmark.root=/mirror with_encoder=true",
            "languages=[sw,yo] benchmark.root=/mirror check_only=true",
        ),
        ("benchmark.root", "languages", "benchmark.split", "with_encoder", "check_only"),
        config="mirror",
        groups=("benchmark", "encoder"),
    ),
    Command(
        "mine",
        "examples to train on, out of judged queries and runs",
        "m3eval.commands.mine",
        "Writes {query, pos, neg} for each judged query of a split: negatives are documents that "
        "a retriever ranks high, without judged ones and equal texts. It reads runs of stage 1, "
        "so give m3eval run the same words before; negatives=0 needs none.",
        (
            "benchmark.split=train benchmark.name=miracl_train languages=[ko]",
            "benchmark=demo languages=[en] negatives=0",
        ),
        (
            "benchmark.split",
            "benchmark.root",
            "folder",
            "negatives",
            "mined_from",
            "ranks",
            "judged_by",
            "margin",
            "never",
            "most",
        ),
        config="mine",
    ),
    Command(
        "train",
        "train an encoder: M3, SPLADE, SparseEmbed, CLP",
        "m3eval.commands.train",
        "Trains a checkpoint on questions with documents that answer them, and writes one that "
        "the stages read. Run it again after an interruption: it goes on from its last checkpoint. "
        "Several GPUs: torchrun --nproc-per-node 8 -m m3eval.train WORDS.",
        (
            "name=mine start=BAAI/bge-m3 data.files=[mine.jsonl]",
            "name=h start=/m3 data.files=[h/] objective.only_train=[heads.]",
            "name=s start=/m data.files=[s] objective.representations=[sparse]",
        ),
        (
            "name",
            "start",
            "data.files",
            "data.group",
            "data.batch_sizes",
            "objective.only_train",
            "trainer.steps",
            "trainer.learning_rate",
            "trainer.gradient_cache",
            "trainer.save_every",
            "seed",
            "output_dir",
        ),
        config="train",
        checked=False,
        groups=("objective", "data", "trainer", "experiment"),
    ),
    Command(
        "list",
        "the encoders, benchmarks, retrievers ... there are",
        "m3eval.commands.listing",
        "Says of each choice what it is. Choices of your own are listed with --config-dir DIR.",
        ("encoders", "benchmarks", "retrievers"),
        ("group",),
        config="list",
        checked=False,
        groups=(),
        plain=("group",),
    ),
    Command(
        "completion",
        "what your shell reads to complete these words",
        "m3eval.commands.completion",
        "Prints a script for bash, zsh or fish, by which TAB completes commands, settings and "
        "choices. It holds lists of them: make it again after an update.",
        ("bash >> ~/.bashrc", "zsh >> ~/.zshrc", "fish > ~/.config/fish/completions/m3eval.fish"),
        ("shell",),
        config="completion",
        checked=False,
        groups=(),
        plain=("shell",),
    ),
)
NAMES = tuple(command.name for command in COMMANDS)
