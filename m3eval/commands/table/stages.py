"""The commands that make scores: the three stages, and what belongs to them."""

from m3eval.commands.table.command import Command

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

STAGES = (
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
        "finish the stores and runs that were made in shares",
        "m3eval.commands.merge",
        "After `m3eval embed runtime.share=0/8` to `7/8`, on any machines that share a folder: "
        "looks at every shard and finishes the stores, or names the shards that are missing. Give "
        "it the words of the shares, without runtime.share. Runs of `m3eval search` in shares are "
        "merged likewise, or the parts named that are missing.",
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
        "them and each language. BM25 reads texts and needs no stage 0. With runtime.share=3/8 "
        "only part 3 of 8 of each corpus is searched.",
        (
            "experiment=demo",
            "languages=[ko,fa] retriever=[dense,sparse,dense_sparse]",
            "languages=[ko,fa] retriever=[bm25s]",
        ),
        (*_STAGE, "benchmark.retrieval.depth", "runtime.share"),
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
)
