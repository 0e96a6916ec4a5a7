"""The site's pages: what they state, where from, and that no text of a user becomes markup."""

import copy
import csv
import json
import re
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from m3eval import seals
from m3eval.commands import gathered, recorded, site
from m3eval.config import compose
from m3eval.errors import UserError
from m3eval.files import write_json
from m3eval.manifests import Result
from m3eval.quoting import literal
from m3eval.records import plain, read
from m3eval.reference.published import tables
from m3eval.reports.results import shown
from m3eval.reports.site import (
    comparisons,
    costs,
    overview,
    pages,
    results,
    score_tables,
    significance,
)
from m3eval.reports.site.boards import boards, unused

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / "results").rglob("scores.json"))
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></script>"


class Reader(HTMLParser):
    """Tags with attributes, and the text of table cells by row."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.cell = [], [], None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def data(path):
    """What a data file hands over."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("m3eval.put(") and text.endswith(");\n")
    return json.loads("[" + text[len("m3eval.put(") : -3] + "]")[1]


def result(
    name="mine",
    encoder="my encoder",
    languages=("ko", "sw"),
    retrievers=("dense", "all"),
    seed=0.0,
    sha="a",
):
    """A made-up scores.json."""
    content = json.loads((ROOT / "results/demo/e5_small_q4/scores.json").read_text())
    origin = copy.deepcopy(content["provenance"])
    origin["config"]["benchmark"]["name"] = origin["config"]["benchmark"]["label"] = name
    origin["config"]["languages"] = list(languages)
    recorded_retrievers = origin["config"]["retriever"]
    origin["config"]["retriever"] = {name: recorded_retrievers[name] for name in retrievers}
    origin["texts"] = {
        f"corpus-{language}": origin["texts"]["corpus-ko"] | {"count": 3, "sha256": sha * 64}
        for language in languages
    }
    scores = {
        retriever: {language: 10.0 + 7 * i + j + seed for j, language in enumerate(languages)}
        for i, retriever in enumerate(retrievers)
    }
    for values in scores.values():
        values["average"] = sum(values.values()) / len(values)
    return {
        "title": f"{name} (test, 512/512 tokens)",
        "encoder": encoder,
        "unit": "x 100",
        "judged_queries": dict.fromkeys(languages, 9),
        "scores": {"nDCG@10": scores},
        "distances": {},
        "provenance": origin,
    }


def write(folder, **contents):
    for name, content in contents.items():
        write_json(folder / name / "scores.json", content)
    return folder


def test_every_published_score_stands_on_its_page(tmp_path):
    site.build([ROOT / "results"], [], tmp_path / "site")
    for board in boards(results.read_results(PUBLISHED)):
        page = tmp_path / f"site/benchmark/{board.slug}.html"
        html = page.read_text().replace(" <small", "<small")
        buttons = [attrs for tag, attrs in Reader(page).tags if tag == "button"]
        for metric in board.metrics:
            scores = [
                score
                for result in board.results
                for by_language in result.content.scores.get(metric, {}).values()
                for score in by_language.values()
            ]
            assert sum(attrs.get("data-metric") == metric for attrs in buttons) == len(scores)
            assert all(f">{score:.1f}<" in html for score in scores)
    overview = Reader(tmp_path / "site/index.html")
    row = next(row for row in overview.rows if row[1:] and row[1].startswith("multi_vector"))
    assert any(cell.startswith("81.0") and "18 lang." in cell for cell in row)  # the demo's


def of_published_benchmark(benchmark, metrics, languages):
    """A result on a benchmark of the published tables."""
    content = result(benchmark, languages=languages)
    content["provenance"]["config"]["benchmark"]["reference"] = benchmark
    content["scores"] = dict.fromkeys(metrics, content["scores"]["nDCG@10"])
    return content


def test_every_stored_row_stands_beside_the_benchmark_and_measure_it_belongs_to(tmp_path):
    by_benchmark = {}
    for table in tables():
        by_benchmark.setdefault(table.benchmark, []).append(table)
    for benchmark, of_benchmark in by_benchmark.items():
        languages = dict.fromkeys(name for table in of_benchmark for name in table.languages)
        metrics = dict.fromkeys(table.metric for table in of_benchmark)
        made = of_published_benchmark(benchmark, metrics, [*languages])
        write(tmp_path / "results", **{benchmark: made})
    site.build([tmp_path / "results"], [], tmp_path / "site")
    for benchmark, of_benchmark in by_benchmark.items():
        rows = Reader(tmp_path / f"site/benchmark/{benchmark}.html").rows
        left = Counter(
            (row[0].partition(" published")[0], *(number(cell) for cell in row[1:]))
            for row in rows
            if len(row) > 1 and " published" in row[0]
        )
        columns = next(row[1:] for row in rows if row[0] == "system")
        for table in of_benchmark:
            for row in table.rows:
                values = dict(zip(table.languages, row.cells or [], strict=False))
                values["average"] = row.average
                cells = (shown(values.get(column)) for column in columns)
                line = (row.system, *cells)
                assert left[line] > 0, (table.id, line)
                left[line] -= 1
        assert not +left  # nothing that is stored nowhere


PUBLISHED_ON = sorted({(table.benchmark, table.metric) for table in tables()})


@pytest.mark.parametrize(("benchmark", "metric"), PUBLISHED_ON)
def test_a_few_published_rows_come_first_and_all_others_are_folded(tmp_path, benchmark, metric):
    here = [table for table in tables() if (table.benchmark, table.metric) == (benchmark, metric)]
    languages = list(dict.fromkeys(name for table in here for name in table.languages))
    made = of_published_benchmark(benchmark, [metric], languages)
    site.build([write(tmp_path / "r", one=made)], [], tmp_path / "site")
    html = (tmp_path / f"site/benchmark/{benchmark}.html").read_text()
    first, _, folded = html.partition('<details class="folded"')
    shown_first = first.count(">published</span>")
    total = sum(len(table.rows) for table in here)
    assert min(5, total) <= shown_first <= 8
    assert folded.count(">published</span>") == total - shown_first
    assert (f"{total - shown_first} more published rows" in folded) == (total > shown_first)
    assert "(before 20" not in first  # of older versions


def cells_of(page, system):
    """The cells of the first row of a published system."""
    return next(row[1:] for row in Reader(page).rows if row and f"{system} published" in row[0])


def test_a_published_score_says_in_its_cell_that_it_is_not_comparable(tmp_path):
    table = next(table for table in tables() if table.id == "M3 Table 1")

    def page(name, split="dev", subset=False, joint="\n", without=0):
        made = of_published_benchmark("miracl", ["nDCG@10"], table.languages[without:])
        made["provenance"]["config"]["benchmark"] |= {"split": split, "subset": subset}
        for texts in made["provenance"]["texts"].values():
            texts |= {"split": split, "joint": joint}
        site.build([write(tmp_path / name, one=made)], [], tmp_path / f"{name}-site")
        return tmp_path / f"{name}-site/benchmark/miracl.html"

    whole = page("whole")
    assert cells_of(whole, "M3 All")[:2] == ["71.5 18 lang.", "80.2"]
    # A table that does not say how texts were read is never comparable.
    assert cells_of(whole, "Pyserini bm25")[1] == "≠\xa048.1"
    fewer = cells_of(page("fewer", without=1), "M3 All")
    assert fewer[:2] == ["≠\xa071.5 18 lang.", "81.5"]  # only the average is over other languages
    for name, rules, why in (
        ("subset", {"subset": True}, "only a part of the benchmark"),
        ("split", {"split": "test"}, "split is &#39;test&#39;, published with &#39;dev&#39;"),
        ("joint", {"joint": " "}, "joint is"),
    ):
        other = page(name, **rules)
        assert cells_of(other, "M3 All")[:2] == ["≠\xa071.5 18 lang.", "≠\xa080.2"]
        assert why in other.read_text().partition("M3 Table 1")[2]


def test_averages_over_other_languages_stand_apart(tmp_path):
    """However good: most systems have two languages, one has the easier of them alone."""
    folder = write(
        tmp_path / "r",
        one=result(encoder="one"),
        two=result(encoder="two", seed=1),
        alone=result(encoder="alone", languages=("sw",), retrievers=("all",), seed=80),
    )
    site.build([folder], [], tmp_path / "site")
    page = tmp_path / "site/benchmark/mine.html"
    *most, last = [row for row in Reader(page).rows if row and "tokens" in row[0]]
    assert [row[1] for row in most] == [
        "18.5 2 lang.",
        "17.5 2 lang.",
        "11.5 2 lang.",
        "10.5 2 lang.",
    ]
    assert last[1:] == ["90.0 only sw", "–", "90.0"]
    buttons = [attrs for tag, attrs in Reader(page).tags if tag == "button" and "data-row" in attrs]
    best = [each["data-row"] for each in buttons if each.get("class") == "best"]
    averages = [each for each in buttons if each["data-column"] == "average"]
    assert averages[0]["data-row"] in best and averages[0].get("class") == "best"
    assert averages[-1].get("class") is None  # 90.0 is not the best average


def test_a_system_of_one_language_has_that_score_as_its_average(tmp_path):
    """Whichever of its result's languages it is."""
    content = result(retrievers=("dense", "all"))
    for by_retriever in content["scores"].values():
        by_retriever["all"] = {"sw": 90.0}
    site.build([write(tmp_path / "r", one=content)], [], tmp_path / "site")
    rows = Reader(tmp_path / "site/benchmark/mine.html").rows
    row = next(row for row in rows if row[0].startswith("all "))
    assert row[1:] == ["90.0 only sw", "–", "90.0"]


def number(cell):
    """A published cell without its mark and without the languages of an average."""
    return re.sub(r"^≠\s| \d+ lang\.$", "", cell)


def test_groups_of_queries_and_chance_stand_below_the_scores(tmp_path):
    site.build([ROOT / "results"], [], tmp_path / "site")
    page = Reader(tmp_path / "site/benchmark/demo.html")
    headings = [row for row in page.rows if row[1:2] == ["all queries"]]
    assert headings[0] == ["system", "all queries", "keyword", "paraphrase", "chance"]
    rows = [row for row in page.rows if row[0].startswith("multi_vector") and len(row) == 5]
    result = read(ROOT / "results/demo/e5_small_q4/scores.json", Result, "")
    groups, name = result.groups["nDCG@10"], "multi_vector"
    values = [result.scores["nDCG@10"][name], *(of[name] for of in groups.values())]
    values.append(result.chance["nDCG@10"])
    assert rows[0][1:] == [shown(of["average"]) for of in values]
    others = Reader(tmp_path / "site/benchmark/xquad.html").rows
    assert not any("all queries" in row for row in others)  # which has no groups


def test_a_page_says_which_languages_a_published_table_lacks(tmp_path):
    made = of_published_benchmark("xquad", ["nDCG@10"], ["ar", "el", "vi"])
    site.build([write(tmp_path / "results", xquad=made)], [], tmp_path / "site")
    rows = Reader(tmp_path / "site/benchmark/xquad.html").rows
    heading = next(row[0] for row in rows if row[0].startswith("MTEB XQuADRetrieval"))
    assert "; without el, vi" in heading


def test_languages_stand_in_the_papers_order(tmp_path):
    folder = write(tmp_path / "results", mine=result(languages=("sw", "ko", "ar")))
    site.build([folder], [], tmp_path / "site")
    head = Reader(tmp_path / "site/benchmark/mine.html").rows[0]
    assert head[1:] == ["average", "ar", "ko", "sw"]


def test_results_of_other_texts_are_never_set_side_by_side(tmp_path):
    folder = write(
        tmp_path / "r",
        one=result(),
        two=result(encoder="other", seed=1),
        three=result(encoder="third", sha="b"),
    )
    files = [folder / name / "scores.json" for name in ("one", "two", "three")]
    first, second = boards(results.read_results(files))
    assert [result.content.encoder for result in first.results] == ["my encoder", "other"]
    assert [result.content.encoder for result in second.results] == ["third"]
    assert (first.slug, second.slug) == ("mine", "mine-2")
    assert "other texts" in second.title


def test_systems_of_several_encoders_share_a_comparison(tmp_path):
    """Folders BENCHMARK/ENCODER have one comparison beside them; it marks what it tested."""
    folder = tmp_path / "r/mine"
    for seed, name in enumerate(("first", "second", "windowed")):
        content = result(encoder=f"{name} encoder", seed=seed)
        content["provenance"]["config"]["encoder"]["name"] = name
        if name == "windowed":  # reads differently much, but is of the same board
            content["provenance"]["config"]["encoder"]["windows"] = {"size": 512, "stride": 256}
            content["provenance"]["config"]["benchmark"]["text"]["max_document_length"] = 65536
            content["title"] = "mine (test, 512/65536 tokens, windows 512/256)"
        write(folder, **{name: content})
    row = {
        "metric": "nDCG@10",
        "against": "first/dense",
        "language": "average",
        "difference": 1.0,
        "p_holm": 0.01,
    }
    rows = [row | {"system": "second/dense"}, row | {"system": "first/all", "p_holm": 0.5}]
    write_json(
        folder / "comparison.json", {"comparisons": rows, "settings": {"test": "t", "alpha": 0.05}}
    )
    first, second, windowed = results.read_results(results.scores_below(tmp_path / "r"))
    names = [result.name for result in (first, second, windowed)]
    assert names == ["first-mine", "second-mine", "windowed-mine"]
    (board,) = boards([first, second, windowed])
    table = score_tables.metric_table(board, "nDCG@10", ["average"])
    marked = [
        f"{line.row.result.encoder_name}/{line.row.retriever}"
        for line in table.lines
        if line.cells[0].mark
    ]
    assert marked == ["second/dense"]
    # One matrix, though three results have it, and one column, the baseline's.
    (matrix,) = significance.significance_matrices(board, "nDCG@10")
    assert matrix.across == ["first/dense"]
    assert matrix.down == ["second/dense", "first/all"]
    assert str(first.reading("dense")) == "512/512 tokens"
    assert str(windowed.reading("dense")) == "512/65536 tokens, windows 512/256"
    first.content.read_whole_texts.append("all")
    assert str(first.reading("all")) == "512/512 tokens and whole texts"


def test_what_reads_words_has_no_encoder(tmp_path):
    """BM25 is one system, whatever encoder it was run beside."""
    content = result()
    retrievers = content["provenance"]["config"]["retriever"]
    retrievers["all"]["_target_"] = "m3eval.retrievers.bm25s.search"
    (board,) = boards(results.read_results([write(tmp_path, one=content) / "one/scores.json"]))
    assert {row.retriever: (row.encoder, str(row.reading)) for row in board.rows} == {
        "dense": ("e5_small_q4", "512/512 tokens"),
        "all": ("", "whole texts"),
    }


def test_the_same_system_twice_is_told_apart(tmp_path):
    folder = write(tmp_path / "r", one=result(), two=result(seed=1))
    site.build([folder], [], tmp_path / "site")
    page = tmp_path / "site/benchmark/mine.html"
    (first, second) = (row[0] for row in Reader(page).rows if row and row[0].startswith("dense"))
    assert first.endswith("two") and second.endswith("one")
    assert "e5_small_q4/dense (one)" in page.read_text()  # what its costs are called by


def test_one_bad_system_leaves_the_others_their_colours(tmp_path):
    retrievers = ("dense", "sparse", "multi_vector", "dense_sparse", "all")
    content = result(retrievers=retrievers)
    for i, name in enumerate(retrievers):
        scores = {"ko": 90.0 + i, "sw": 95.0 + i} if i else {"ko": 2.0, "sw": 3.0}
        scores["average"] = (scores["ko"] + scores["sw"]) / 2
        content["scores"]["nDCG@10"][name] = scores
    (board,) = boards(results.read_results([write(tmp_path, one=content) / "one/scores.json"]))
    lines = score_tables.metric_table(board, "nDCG@10", ["ko", "sw"]).lines
    heat = {line.row.retriever: line.cells[0].heat for line in lines}
    assert heat["dense"] == 0
    assert heat["all"] - heat["sparse"] > 0.1
    assert max(cell.heat for cell in lines[0].cells) == 1


def test_no_text_becomes_markup(tmp_path):
    evil = result(name=EVIL, encoder=EVIL)
    evil["provenance"]["config"]["benchmark"]["root"] = EVIL
    site.build([write(tmp_path / "results", one=evil)], [], tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        page = Reader(path)
        own = ("assets/", "../assets/", "data/", "../data/")
        for tag, attrs in page.tags:
            assert tag != "script" or attrs["src"].startswith(own), path
            assert tag != "img" and not any(name.startswith("on") for name in attrs), path
    (board,) = (tmp_path / "site/data").glob("board-*.js")
    assert data(board)["results"]["one"]["encoder"] == EVIL


def test_nothing_is_asked_of_the_network(tmp_path):
    site.build([ROOT / "results"], [], tmp_path / "site")
    for path in (tmp_path / "site").rglob("*"):
        if path.suffix in (".html", ".css"):
            assert "http" not in path.read_text(encoding="utf-8").replace("http-equiv", ""), path
        if path.parent.name == "assets" and path.suffix == ".js":
            text = path.read_text()
            for word in ("fetch(", "XMLHttpRequest", "import ", "innerHTML", "http"):
                assert word not in text, path


@pytest.mark.parametrize(
    "path", PUBLISHED, ids=lambda path: str(path.parent.relative_to(ROOT / "results"))
)
def test_the_command_gives_the_recorded_configuration(path):
    provenance = read(path, Result).provenance
    command = recorded.command(provenance)
    composed = OmegaConf.to_container(compose(*command.words), resolve=True)
    assert command.gone == []
    assert is_part(provenance.config, composed)
    assert command.stages[0] == ("embed" if provenance.stores else "search")


def is_part(config, of):
    """Whether a configuration has all these values."""
    if not isinstance(config, dict):
        return config == of
    return all(key in of and is_part(value, of[key]) for key, value in config.items())


def test_the_demos_command_is_short():
    provenance = read(ROOT / "results/demo/e5_small_q4/scores.json", Result).provenance
    retrievers = provenance.config["retriever"]
    # As `make demo` has it.
    provenance.config["retriever"] = {name: retrievers[name] for name in compose().retriever}
    assert recorded.command(provenance).lines("languages=[ko]") == [
        f"m3eval {stage} experiment=demo 'languages=[ko]'"
        for stage in ("embed", "search", "evaluate")
    ]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"),
        (True, "true"),
        (0.3, "0.3"),
        (["ko", "no"], '[ko,"no"]'),
        ("a b", '"a b"'),
        ("1", '"1"'),
        ({"a": 1}, "{a:1}"),
    ],
)
def test_values_are_written_as_hydra_reads_them(value, word):
    assert literal(value) == word
    cfg = compose(f"+encoder.x={word}")
    assert OmegaConf.to_container(cfg, resolve=True)["encoder"]["x"] == value


def test_costs_are_what_retrievers_say_they_need():
    index = "an index of texts: its size and the time to build it are not kept"
    expected = {
        "dense": {"dense"},
        "sparse": {"sparse"},
        "multi_vector": {"dense", "multi_vector"},
        "multi_vector_exhaustive": {"multi_vector"},
        "dense_sparse": {"dense", "sparse"},
        "all": {"dense", "sparse", "multi_vector"},
        "bm25": index,
        "bm25_tokens": index,
        "bm25s": index,
        "dense_bm25": index,
        "cross_encoder": "a cross-encoder over candidates: it reads texts anew for every query",
        "term_vectors": {"sparse", "term_vectors"},
        "term_vectors_exhaustive": {"term_vectors"},
    }
    cfg = compose(f"retriever=[{','.join(expected)}]")
    retrievers = OmegaConf.to_container(cfg.retriever)
    assert {name: costs.representations(retrievers, name) for name in retrievers} == expected
    retrievers["dense"]["_target_"] = "antigravity.search"  # never imported, whoever wrote it
    assert "somebody's own" in costs.representations(retrievers, "multi_vector")
    assert "antigravity" not in sys.modules


def shade(colour):
    """Relative luminance of red, green and blue from 0 to 255 (WCAG 2.2)."""
    linear = [
        c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for part in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    """A contrast of 4.5, as WCAG 2.2 AA asks of small text; 3 for the ring around the focus."""
    text = (pages.HERE / "static/site.css").read_text()
    _, light, dark = text.split(":root {")[:3]
    rules = light.split("@media")[0] if scheme == "light" else dark.split("}")[0]
    named = re.findall(r"--([\w-]+): #(\w{6})", rules)
    colours = {name: tuple(bytes.fromhex(value)) for name, value in named}
    share = int(re.search(r"var\(--heat\) \* (\d+)%", text)[1]) / 100
    pairs = zip(colours["heat-colour"], colours["paper"], strict=True)
    colours["hottest"] = tuple(share * hot + (1 - share) * cold for hot, cold in pairs)
    behind = {
        "ink": ("paper", "panel", "hottest", "term", "pair", "win"),
        "soft": ("paper", "panel", "win"),
        "link": ("paper", "panel"),
        "good": ("paper", "win"),
        "bad": ("paper",),
        "focus": ("paper", "panel", "hottest", "win"),
    }
    for name, grounds in behind.items():
        for ground in grounds:
            low, high = sorted((shade(colours[name]), shade(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= (3 if name == "focus" else 4.5), (name, ground)
    # Nothing moves, so nothing has to be stilled.
    assert not re.search("transition|animation|scroll-behavior", text)


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else"):
        site.build([ROOT / "results"], [], tmp_path / "site")
    assert (tmp_path / "site/thesis.txt").exists()


def test_nothing_to_show_is_an_error(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError, match="nothing to show"):
        site.build([tmp_path / "results"], [], tmp_path / "site")
    with pytest.raises(UserError, match="`m3eval evaluate`"):
        site.build([tmp_path / "results"], [tmp_path], tmp_path / "site")


def test_runs_belong_to_the_result_that_was_published_of_them(tmp_path):
    """Though more retrievers were published; runs with other scores stand beside it."""
    folder = write(tmp_path / "results/mine", e5_small_q4=result())
    runs = tmp_path / "outputs/mine/e5_small_q4"
    write(runs, scores=result(retrievers=("dense",)))
    (published,), runs_of = gathered.gather([folder.parent], [runs])
    assert runs_of == {published.name: runs} == {"e5_small_q4-mine": runs}
    write(runs, scores=result(retrievers=("dense",), seed=0.5))
    (published, scored), runs_of = gathered.gather([folder.parent], [runs])
    assert runs_of == {scored.name: runs} == {"e5_small_q4-mine (runs)": runs}
    (board,) = boards([published, scored])
    assert {row.label for row in board.rows} == {
        "e5_small_q4/dense (e5_small_q4-mine)",
        "e5_small_q4/dense (e5_small_q4-mine (runs))",
        "e5_small_q4/all",
    }


def test_two_results_of_one_name_are_told_apart_by_where_they_lie(tmp_path):
    folders = [write(tmp_path / name, one=result(seed=i)) for i, name in enumerate("ab")]
    published, _ = gathered.gather([*folders, tmp_path], [])  # and none is shown twice
    assert [each.name for each in published] == [f"one ({folder})" for folder in folders]


def test_everything_below_a_folder_is_found(tmp_path, capsys):
    """However deep; with runs beside it, though their texts are not here; nothing hidden."""
    write(tmp_path / "all/results", one=result())
    write(tmp_path / "all/machine/outputs/mine/e5_small_q4", scores=result(seed=1))
    (tmp_path / "all/machine/outputs/mine/e5_small_q4/runs").mkdir()
    write(tmp_path / "all/.site.part", two=result(seed=2))
    published, runs_of = gathered.gather([tmp_path / "all"], [])
    assert [each.name for each in published] == ["e5_small_q4-mine", "one"]
    assert runs_of == {"e5_small_q4-mine": tmp_path / "all/machine/outputs/mine/e5_small_q4"}
    site.build([tmp_path / "all"], [], tmp_path / "site")
    assert "is shown without its single queries" in capsys.readouterr().out
    page = (tmp_path / "site/benchmark/mine.html").read_text()
    assert "drilldown" not in page and not (tmp_path / "site/drilldown").exists()
    # Whoever names the runs is told that they cannot be read.
    with pytest.raises(UserError):
        site.build([], [tmp_path / "all/machine/outputs/mine/e5_small_q4"], tmp_path / "other")


def test_a_page_has_no_empty_section(tmp_path):
    site.build([write(tmp_path / "r", one=result())], [], tmp_path / "site")
    page = (tmp_path / "site/benchmark/mine.html").read_text()
    for absent in ("Quality against cost", "published rows", "significant", "No cost"):
        assert absent not in page
    for section in re.findall(r"<section>(.*?)</section>", page, re.S):
        assert re.search(r"<t[dh] |<t[dh]>", section)


def test_an_edited_file_is_refused_whichever_it_is(tmp_path):
    """A record, or a table beside it; all of them are named, and no site is made."""
    folder = tmp_path / "r"
    for name in ("whole", "record", "table"):
        write(folder, **{name: result()})
        (folder / name / "scores.csv").write_text("retriever,ko\ndense,10.0\n")
        content = json.loads((folder / name / "scores.json").read_text())
        # Files that were not handed on, as the scores of single queries, are no damage.
        gone = {"bytes": 1, "sha256": "0" * 64}
        seal = plain(seals.Seal.of(folder / name / "scores.csv"))
        content["files"] = {"scores.csv": seal, "per_query.csv": gone}
        if name == "record":
            content = seals.sealed(content)
            content["scores"]["nDCG@10"]["dense"]["ko"] = 99.0
            write_json(folder / name / "scores.json", content)
        else:
            write_json(folder / name / "scores.json", seals.sealed(content))
    (folder / "table/scores.csv").write_text("retriever,ko\ndense,99.0\n")
    with pytest.raises(UserError) as refused:
        site.build([folder], [], tmp_path / "site")
    said = str(refused.value)
    assert "record/scores.json is damaged" in said and "table/scores.csv is damaged" in said
    assert "whole" not in said and not (tmp_path / "site").exists()
    site.build([folder / "whole"], [], tmp_path / "site")
    page = (tmp_path / "site/benchmark/mine.html").read_text()
    assert "as it was written</td>" in page and "m3eval 0.1.0" in page


def test_scores_are_there_as_files(tmp_path):
    site.build([ROOT / "results"], [], tmp_path / "site")
    files = tmp_path / "site/data"
    rows = list(csv.DictReader((files / "scores.csv").open(encoding="utf-8", newline="")))
    total = sum(
        len(by_language)
        for path in PUBLISHED
        for by_retriever in read(path, Result).scores.values()
        for by_language in by_retriever.values()
    )
    assert len(rows) == total
    of_demo = [row for row in rows if row["benchmark"] == "demo"]
    assert of_demo == list(csv.DictReader((files / "scores-demo.csv").open(encoding="utf-8")))
    wanted = {"system": "e5_small_q4/multi_vector", "metric": "nDCG@10", "language": "average"}
    (row,) = (row for row in of_demo if wanted.items() <= row.items())
    assert (f"{float(row['score']):.1f}", row["languages"]) == ("81.0", "18")
    from_json = json.loads((files / "scores-demo.json").read_text(encoding="utf-8"))
    assert [{key: str(value) for key, value in each.items()} for each in from_json] == of_demo
    for page, stem in (("index", "data/scores"), ("benchmark/demo", "../data/scores-demo")):
        links = [attrs for tag, attrs in Reader(tmp_path / f"site/{page}.html").tags if tag == "a"]
        assert [link["href"] for link in links if "download" in link] == [
            f"{stem}.csv",
            f"{stem}.json",
        ]


def test_a_page_says_what_a_preview_of_its_link_shows(tmp_path):
    about = pages.About('Our "board"', "<b>", "https://example.org/board/")
    folder = write(tmp_path / "r", one=result())
    site.build([folder], [], tmp_path / "site", about=about)
    for name, title in (
        ("index", 'Our "board" · m3eval'),
        ("benchmark/mine", 'mine (test) · Our "board"'),
    ):
        tags = Reader(tmp_path / f"site/{name}.html").tags
        said = {attrs.get("property"): attrs.get("content") for tag, attrs in tags if tag == "meta"}
        assert said["og:title"] == title and said["og:description"]
        assert said["og:url"] == f"https://example.org/board/{name}.html"
        assert {"rel": "canonical", "href": said["og:url"]} in [attrs for _, attrs in tags]
        (made,) = (attrs["datetime"] for tag, attrs in tags if tag == "time")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", made)
    site.build([folder], [], tmp_path / "other")
    assert "og:url" not in (tmp_path / "other/index.html").read_text()


def test_ranks_are_by_the_mean_over_benchmarks_that_systems_share(tmp_path):
    write(
        tmp_path / "r",
        a1=result("first", "one", seed=0),
        a2=result("second", "one", seed=0),
        b1=result("first", "two", seed=4),
        b2=result("second", "two", seed=2),
        c=result("third", "one", seed=50),  # which only one encoder has
        d=result("first", "three", languages=("sw",), seed=70),  # no average of most systems
    )
    files = results.scores_below(tmp_path / "r")
    found = boards(results.read_results(files))
    lines, chosen = overview.overview_lines(found)
    assert chosen == ["first", "second"]
    ranked = [(line.rank, line.first.about, line.first.retriever, line.mean) for line in lines]
    assert ranked[:4] == [
        (1, "two", "all", 20.5),
        (2, "one", "all", 17.5),
        (3, "two", "dense", 13.5),
        (4, "one", "dense", 10.5),
    ]
    assert {(rank, about) for rank, about, _, _ in ranked[4:]} == {(None, "three")}


def test_the_matrix_of_differences_is_whole_and_in_words(tmp_path):
    """Every pair that was tested, both ways round."""
    folder = write(tmp_path / "r", one=result(retrievers=("dense", "sparse", "all"))) / "one"
    pairs = [("sparse", "dense", -9.0, 0.01), ("all", "dense", 2.0, 0.4), ("all", "sparse", 11, 0)]
    keys = ("system", "against", "difference", "p_holm")
    rows = [
        {"metric": "nDCG@10", "language": "average"} | dict(zip(keys, pair, strict=True))
        for pair in pairs
    ]
    settings = {"test": "permutation", "alpha": 0.05}
    write_json(folder / "comparison.json", {"comparisons": rows, "settings": settings})
    site.build([tmp_path / "r"], [], tmp_path / "site")
    rows = [row for row in Reader(tmp_path / "site/benchmark/mine.html").rows if len(row) == 4]
    found = {row[0]: row[1:] for row in rows if any("better" in cell for cell in row)}
    assert found == {
        "dense": ["", "+9.0 ▲ betterp 0.0100", "-2.0  unclearp 0.4000"],
        "all": ["+2.0  unclearp 0.4000", "+11.0 ▲ betterp < 0.0001", ""],
    }
    assert ["sparse", "-9.0 ▼ worsep 0.0100", "", "-11.0 ▼ worsep < 0.0001"] in rows


def test_benchmarks_are_grouped_by_what_they_ask():
    files = {path.parent: path for path in PUBLISHED}
    found = boards(results.read_results(files.values()))
    kinds = {board.slug: overview.kind(board) for board in found}
    assert {name: kinds[name] for name in ("demo", "demo_cross", "demo_long")} == {
        "demo": "like MIRACL",
        "demo_cross": "cross-lingual",
        "demo_long": "long documents",
    }
    assert (kinds["miracl_tydi"], kinds["afriqa"]) == ("like MIRACL", "cross-lingual")
    assert (kinds["qmsum"], kinds["tydiqa_goldp"]) == ("long documents", "own")


def test_no_two_rows_of_a_table_read_alike(tmp_path):
    site.build([ROOT / "results"], [], tmp_path / "site")
    for path in [tmp_path / "site/index.html", *(tmp_path / "site/benchmark").iterdir()]:
        for table in re.findall(r"<tbody>(.*?)</tbody>", path.read_text(), re.S):
            names = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', table, re.S)
            said = [" ".join(re.sub("<[^>]*>", " ", name).split()) for name in names]
            assert len({*said}) == len(said), path
            assert not any("…" in name for name in said)  # and none is cut


def test_a_hundred_systems_in_eighteen_languages(tmp_path):
    demo = read(ROOT / "results/demo/e5_small_q4/scores.json", Result)
    languages = tuple(demo.judged_queries)
    retrievers = ("dense", "sparse", "multi_vector", "dense_sparse", "all")
    for i in range(20):
        content = result(encoder=f"encoder {i}", languages=languages, retrievers=retrievers, seed=i)
        write(tmp_path / "r", **{f"r{i}": content})
    started = time.process_time()
    site.build([tmp_path / "r"], [], tmp_path / "site")
    assert time.process_time() - started < 10
    page = Reader(tmp_path / "site/benchmark/mine.html")
    assert sum(tag == "button" and "data-row" in attrs for tag, attrs in page.tags) == 100 * 19


def changed(content, place, value):
    """The same result with one value changed; ... takes the value away."""
    content = copy.deepcopy(content)
    *parents, last = place.split("/")
    node = content
    for key in parents:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return content


CONFIG = "provenance/config"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("scores", {}, "it has no scores"),
        ("scores", {"nDCG@10": {}}, "it has no scores"),
        ("scores", {"nDCG@10": {"unknown": {"ko": 1.0}}}, "has no retriever 'unknown'"),
        ("scores", {"nDCG@10": {"dense": {"ko": "<b>"}}}, "Expected `float | null`, got `str`"),
        ("judged_queries", {}, "it has no scores"),
        (CONFIG, {}, "missing required field `benchmark`"),
        (f"{CONFIG}/benchmark/name", 2023, r"Expected `str`, got `int` - at `\$.benchmark.name`"),
        (f"{CONFIG}/benchmark/label", ["<b>"], "Expected `str`, got `array`"),
        (f"{CONFIG}/benchmark/text/max_query_length", "512", "Expected `int`, got `str`"),
        (f"{CONFIG}/benchmark/source", None, "Expected `object`, got `null`"),
        (f"{CONFIG}/encoder/name", ..., "missing required field `name`"),
        (f"{CONFIG}/encoder/windows", 3, "Expected `object | null`, got `int`"),
        (f"{CONFIG}/retriever", ["dense"], "Expected `object`, got `array`"),
        (f"{CONFIG}/retriever/dense/_target_", ..., "missing required field `_target_`"),
        (f"{CONFIG}/store", {"dense": {"type": "int8"}}, "missing required field `dimensions`"),
        (f"{CONFIG}/store", {"dense": {"dimensions": 2, "type": "x"}}, "Invalid enum value 'x'"),
    ],
)
def test_a_result_that_is_none_is_refused(tmp_path, place, value, said):
    folder = write(tmp_path / "r", one=changed(result(), place, value))
    with pytest.raises(UserError, match=f"{said}.*`m3eval evaluate` again") as refused:
        site.build([folder], [], tmp_path / "site")
    assert "one/scores.json" in str(refused.value)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_score_that_is_no_number_is_refused(tmp_path, number):
    """Early versions wrote a bare NaN, which no page can read."""
    path = write(tmp_path / "r", one=result()) / "one/scores.json"
    path.write_text(path.read_text().replace("10.0", number))
    with pytest.raises(UserError, match="one/scores.json is no "):
        site.build([tmp_path / "r"], [], tmp_path / "site")


ROW = {"metric": "m", "system": "a", "against": "b", "language": "ko", "difference": 1, "p_holm": 0}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json", "{}"),
        ("json", '{"comparisons": [], "settings": {"test": "t"}}'),
        ("json", json.dumps({"comparisons": [{}], "settings": {"test": "t", "alpha": 0.05}})),
        (
            "json",
            json.dumps({"comparisons": [ROW | {"p_holm": "0"}], "settings": {"test": "t"}}),
        ),
        ("json", "[" * 10),
        ("csv", "metric,system\nm,a\n"),
        ("csv", ",".join(ROW) + "\nm,a,b,ko,much,0\n"),
    ],
)
def test_a_comparison_that_is_none_is_refused(tmp_path, name, text):
    folder = write(tmp_path / "r", one=result())
    (folder / f"one/comparison.{name}").write_text(text)
    with pytest.raises(UserError, match=rf"comparison.{name} is no .*`m3eval compare` again"):
        site.build([folder], [], tmp_path / "site")


def test_a_comparison_is_read_from_either_file(tmp_path):
    folder = write(tmp_path / "r", one=result()) / "one"
    row = ROW | {"metric": "nDCG@10", "system": "all", "against": "dense", "p_holm": None}
    (folder / "comparison.csv").write_text(",".join(row) + "\nnDCG@10,all,dense,ko,1,\n")
    from_csv = comparisons.read_comparison(folder)
    settings = {"test": "permutation", "alpha": 0.05}
    write_json(folder / "comparison.json", {"comparisons": [row], "settings": settings})
    from_json = comparisons.read_comparison(folder)
    assert from_csv.rows == from_json.rows
    assert from_json.rows[0].p_holm is None and not from_json.significant(from_json.rows[0])


def test_a_language_without_a_score_has_a_dash(tmp_path):
    """And the system no average: nothing else takes its place."""
    content = result()
    content["scores"]["nDCG@10"]["dense"] = {"ko": 12.0, "sw": None, "average": None}
    site.build([write(tmp_path / "r", one=content)], [], tmp_path / "site")
    page = Reader(tmp_path / "site/benchmark/mine.html")
    (row,) = (row for row in page.rows if row and row[0].startswith("dense"))
    assert row[1:] == ["–", "12.0", "–"]
    overview = Reader(tmp_path / "site/index.html")
    (row,) = (row for row in overview.rows if row[1].startswith("dense"))
    assert (row[0], *row[2:]) == ("–", "–", "– 2 lang.")
    for path in (tmp_path / "site").rglob("*.html"):
        assert not re.search(r'\bnan\b|"None"', path.read_text(), re.I), path
    assert {"mine": {"ko": 12.0}} in data(tmp_path / "site/data/overview.js")["rows"]


def test_a_result_without_any_score_has_a_page(tmp_path):
    content = result(retrievers=("dense",))
    content["scores"]["nDCG@10"]["dense"] = {"ko": None, "sw": None, "average": None}
    site.build([write(tmp_path / "r", one=content)], [], tmp_path / "site")
    (_, row) = Reader(tmp_path / "site/benchmark/mine.html").rows[:2]
    assert row[1:] == ["–", "–", "–"]


def test_half_a_pair_of_utf_16_costs_no_page(tmp_path):
    content = result(encoder="half \ud83d of it")
    folder = tmp_path / "r/one"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(content))
    site.build([tmp_path / "r"], [], tmp_path / "site")
    (board,) = (tmp_path / "site/data").glob("board-*.js")
    assert data(board)["results"]["one"]["encoder"] == "half \ud83d of it"


@pytest.mark.parametrize(
    ("name", "used", "slug"),
    [
        ("ko", [], "ko"),
        ("한국어", [], "---"),
        ("日本語", ["---"], "----2"),
        ("lang.1", ["lang-1", "lang-1-2"], "lang-1-3"),
        ("Ko", ["ko"], "Ko-2"),
        ("../../x", [], "------x"),
    ],
)
def test_no_two_names_share_a_file(name, used, slug):
    assert unused(name, used) == slug


def test_labels_of_the_chart_lie_on_nothing():
    systems = [costs.MeasuredSystem(f"e5_small_q4/system_{i}", 1000 + i, 77.2) for i in range(6)]
    systems += [costs.MeasuredSystem(f"e5_small_q4/far_{i}", 85_000, 80 + i) for i in range(3)]
    chart = costs.quality_chart(systems)
    boxes = []
    for point in chart.points:
        long = costs.LETTER * len(point.label)
        left = point.text_x - long if point.text_x < point.x else point.text_x
        boxes.append((left, left + long, point.text_y))
        assert left >= 0 and left + long <= chart.width and 0 < point.text_y < chart.height - 30
    for i, (low, high, y) in enumerate(boxes):
        for other_low, other_high, other_y in boxes[:i]:
            assert low >= other_high or high <= other_low or abs(y - other_y) >= costs.LINE
        for point in chart.points:
            assert not (low < point.x < high and abs(y - point.y) < 5)
