"""The commands that hold systems against each other, or against what they were."""

from m3eval.commands.table.command import Command

VERDICTS = (
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
)
