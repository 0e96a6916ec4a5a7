"""The commands that show and carry away what was made."""

from m3eval.commands.table.command import Command

RESULTS = (
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
        (
            "results",
            "runs",
            "out",
            "depth",
            "megabytes",
            "weights_step",
            "pictures",
            "title",
            "url",
        ),
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
            "results plots=[languages] formats=[svg]",
            "outputs systems=[e5_small_q4/all,bm25s] plots=[queries,depth]",
        ),
        ("results", "out", "plots", "formats", "systems", "weights_step"),
        config="plot",
        checked=False,
        groups=(),
        plain=("results",),
        listed=True,
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
)
