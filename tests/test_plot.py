"""Pictures of results: what stands in them is what stands in the tables."""

from __future__ import annotations

import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from m3eval.__main__ import main
from m3eval.commands import drawn_scores, plot, site
from m3eval.config import compose
from m3eval.config.setup import Setup
from m3eval.errors import UserError
from m3eval.reports.plots import details, quality, style
from m3eval.reports.plots.quality import Estimate, SystemScores
from m3eval.reports.site.boards import boards
from m3eval.reports.site.results import read_results
from m3eval.reports.site.surface import surface
from tests.needs import needs

pytestmark = needs("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def texts(path: Path) -> list[str]:
    """Every text of an SVG, in its order."""
    return ["".join(node.itertext()).strip() for node in ET.parse(path).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def outputs(pipeline_in, tmp_path_factory) -> Path:
    """Three languages' worth of runs: two kinds of hybrids, and what they build on."""
    folder = tmp_path_factory.mktemp("plot") / "outputs"
    pipeline_in(folder)(
        "languages=[sw,yo]", "retriever=[dense,sparse,multi_vector,dense_sparse,all]"
    )
    return folder


def draw(*words: str, **paths: object) -> None:
    words = [*words, *(f"{name}={path}" for name, path in paths.items())]
    # As the command line does it: what the configuration does not know is for the runs.
    plot.run(Setup(compose(*words, config="plot")))


@pytest.fixture(scope="module")
def drawn(outputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plots")
    draw("resamples=1000", "weights_step=0.5", results=f"[{outputs}]", out=out)
    return out / "miracl"


def scores(outputs: Path) -> dict:
    (path,) = outputs.glob("*/*/scores/scores.json")
    return json.loads(path.read_text())["scores"]


def test_every_picture_is_drawn_in_both_formats(drawn):
    names = {path.name for path in drawn.iterdir()}
    stems = ["languages", "cost", "depth", "weights-dense_sparse", "weights-all", "queries"]
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert all((drawn / f"{stem}.png").read_bytes()[:4] == b"\x89PNG" for stem in stems)


def test_languages_and_systems_are_named_in_text(drawn):
    said = texts(drawn / "languages.svg")
    assert {"average", "sw", "yo", "dense", "sparse", "multi_vector", "dense_sparse", "all"} <= {
        *said
    }
    assert "nDCG@10 by language: MIRACL (dev, subset)" in said
    assert "95% bootstrap intervals over queries" in said


def test_a_cost_is_what_the_site_states(drawn, outputs):
    said = texts(drawn / "cost.svg")
    assert "bytes per document" in said and "milliseconds per query (stage 1)" in said
    # One encoder has one speed: no panel for it.
    assert not any("tokens per second" in each for each in said)


def test_the_queries_are_counted(drawn, outputs):
    """The best two systems, by language: as many better, even and worse as the scores say."""
    means = {name: by["average"] for name, by in scores(outputs)["nDCG@10"].items()}
    first, second = sorted(means, key=lambda name: -means[name])[:2]
    said = texts(drawn / "queries.svg")
    assert f"{first} minus {second}" in said
    counts = [re.fullmatch(r"(\d+) better, (\d+) even, (\d+) worse", each) for each in said]
    assert [sum(map(int, each.groups())) for each in counts if each] == [9, 5]
    mean = next(each for each in said if each.startswith("a bar is a query; mean "))
    assert f"{means[first] - means[second]:+.1f}" in mean and "14 queries" in mean


def test_a_table_of_weights_has_the_scores_of_the_table_it_comes_from(drawn, outputs):
    said = texts(drawn / "weights-all.svg")
    # With all the weight on one component a hybrid of candidates is near that component's score.
    assert "weight of dense; the rest is multi_vector's" in said
    configured = scores(outputs)["nDCG@10"]["all"]["average"]
    assert f"◇ as configured, 1 dense, 0.3 sparse, 1 multi_vector: {configured:.1f}" in said
    assert len([each for each in said if re.fullmatch(r"\d+\.\d", each)]) >= 6


def test_recall_rises_to_the_table_s(drawn, outputs):
    (path,) = outputs.glob("*/*/scores/scores.json")
    for retriever in ("dense", "all"):
        recall = drawn_scores.recall_by_depth(path.parent.parent, retriever, [])
        assert list(recall) == sorted(recall) and list(recall.values()) == sorted(recall.values())
        assert recall[100] == pytest.approx(scores(outputs)["R@100"][retriever]["average"])
    assert {"1", "10", "100", "R@k x 100"} <= {*texts(drawn / "depth.svg")}


def test_the_same_results_make_the_same_files(drawn, outputs, tmp_path):
    words = ["resamples=1000", "plots=[languages,queries]", "formats=[svg]"]
    draw(*words, results=f"[{outputs}]", out=tmp_path)
    for name in ("languages.svg", "queries.svg"):
        content = (tmp_path / "miracl" / name).read_bytes()
        assert content == (drawn / name).read_bytes()
        assert b"<dc:date>" not in content and b"Matplotlib v" not in content


def test_intervals_are_those_of_the_bootstrap(outputs):
    """Wider where queries are fewer, and around the score."""
    (board,) = boards(read_results(outputs.glob("*/*/scores/scores.json")))
    row = next(row for row in board.rows if row.retriever == "sparse")
    found = drawn_scores.per_query(row.result, "nDCG@10")["sparse"]
    assert {language: len(by) for language, by in found.items()} == {"sw": 9, "yo": 5}
    for column in ("sw", "yo", "average"):
        score = row.score("nDCG@10", column)
        estimate = drawn_scores.estimate(score, column, found, drawn_scores.Resampling(1000))
        if estimate.low is not None:
            assert estimate.low <= score <= estimate.high
    values = [100 * value for value in found["sw"].values()]
    assert np.mean(values) == pytest.approx(row.score("nDCG@10", "sw"), abs=1e-3)


def test_results_alone_have_no_intervals_and_say_so(outputs, tmp_path, capsys):
    (path,) = outputs.glob("*/*/scores/scores.json")
    folder = tmp_path / "results" / "mine"
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    draw(results=tmp_path / "results", out=tmp_path / "out")
    out = capsys.readouterr().out
    assert [path.name for path in sorted((tmp_path / "out/miracl").iterdir())] == [
        "languages.png",
        "languages.svg",
    ]
    said = texts(tmp_path / "out/miracl/languages.svg")
    assert "no intervals: results without scores of single queries" in said
    for name in ("cost", "depth", "weights", "queries"):
        assert f"miracl: no {name}: " in out


GIVEN = "results=[{outputs}]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("results=[{outputs}/nowhere]",), "does not exist: name a folder with results below it"),
        ((GIVEN, "systems=[dens]"), "miracl has no dens: it has .*dense"),
        (
            (GIVEN, "systems=[dense]", "plots=[queries]"),
            "queries: .*needs two systems",
        ),
        (
            (GIVEN, "systems=[dense]", "plots=[weights]"),
            "weights: .*no system shown",
        ),
        ((GIVEN, "weights_step=0", "plots=[weights]"), "weights_step=0"),
    ],
)
def test_what_cannot_be_drawn_is_said(outputs, tmp_path, words, said):
    with pytest.raises(UserError, match=said):
        draw(*(word.format(outputs=outputs) for word in words), out=tmp_path)


def test_a_picture_that_there_is_none_of_is_no_setting(capsys):
    assert main(["plot", "plots=[pie]"]) == 2
    assert "pie: takes languages, cost" in " ".join(capsys.readouterr().out.split())


def test_edited_scores_of_queries_are_refused(outputs, tmp_path):
    copy = shutil.copytree(outputs, tmp_path / "outputs")
    (path,) = copy.glob("*/*/scores/per_query.csv")
    path.write_text(path.read_text().replace(",0", ",1", 1))
    with pytest.raises(UserError, match=r"per_query.csv is damaged"):
        draw("plots=[languages]", results=f"[{copy}]", out=tmp_path / "out")


def test_without_matplotlib_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'm3eval\[plot\]'"):
        draw(results=f"[{tmp_path}]", out=tmp_path)


# --- what is drawn of given numbers


def written(made, tmp_path: Path) -> list[str]:
    return texts(style.write(made, tmp_path / "x", ["svg"])[0])


def many(n: int) -> list[SystemScores]:
    return [
        SystemScores(
            f"a_rather_long_encoder_name_{i}/dense_sparse",
            {"average": Estimate(50 + i, 45, 56), "ko": Estimate(40 + i)},
            50 + i,
            {"bytes per document": 10.0**i, "tokens per second (stage 0)": 5.0 + i},
            {1: 10.0 + i, 10: 30.0 + i, 100: 60.0},
        )
        for i in range(n)
    ]


def boxes(made):
    """Where texts stand that are neither empty nor hidden, in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    beyond = set()  # labels of ticks outside an axis' view are there, but nobody draws them
    for axis in (axis for axes in made.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        beyond |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    found = [t for t in made.findobj(Text) if t.get_text().strip() and t.get_visible()]
    found = [text for text in found if text not in beyond]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_no_text_lies_on_another_or_beyond_the_edge(n):
    systems = many(n)
    title = "A benchmark of a long name (test, subset, own document excluded)"
    below = "95% bootstrap intervals over queries; " * 3
    differences = {f"l{i}": np.linspace(-40, 60, 9) for i in range(5)}
    by_two = surface("h", "nDCG@10", "r", 2, {(0.0, 1.0): 4, (1.0, 0.0): 6}, {"a": 1, "b": 1}, 5)
    thirds = {(i / 4, j / 4, 1 - (i + j) / 4): i + 2 * j for i in range(5) for j in range(5 - i)}
    three = {"dense": 1.0, "sparse": 0.3, "multi_vector": 1.0}
    by_three = surface("h", "nDCG@10", "r", 2, thirds, three, 5)
    with style.drawing():
        for made in (
            quality.by_language(title, "nDCG@10", ["average", "ko"], systems, below),
            quality.against_cost(title, "nDCG@10", systems, "a machine"),
            quality.by_depth(title, systems, below),
            details.by_query(title, "nDCG@10", "dense", "sparse", differences, below),
            details.by_weights(title, by_two),
            details.by_weights(title, by_three),
        ):
            found = boxes(made)
            width, height = made.get_figwidth() * made.dpi, made.get_figheight() * made.dpi
            for i, (text, box) in enumerate(found):
                assert box.x0 >= -1 and box.x1 <= width + 1, text
                assert box.y0 >= -1 and box.y1 <= height + 1, text
                for other, place in found[:i]:
                    across = min(box.x1, place.x1) - max(box.x0, place.x0)
                    up = min(box.y1, place.y1) - max(box.y0, place.y0)
                    assert across < 1 or up < 1, (text, other)


def test_colours_and_forms_tell_all_systems_of_a_picture_apart():
    marks = {(style.colour(i), style.marker(i)) for i in range(style.MOST)}
    assert len(marks) == style.MOST == len({colour for colour, _ in marks})


def test_no_figure_leaves_settings_behind(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.drawing():
        said = written(quality.by_depth("T", many(2), "b"), tmp_path)
    assert dict(matplotlib.rcParams) == before
    assert "Recall by depth: T" in said


def test_a_page_of_the_site_shows_the_pictures_that_its_results_allow(outputs, tmp_path):
    """The same file as `m3eval plot` draws; results without runs have no recall by depth."""
    draw("plots=[languages,depth]", "formats=[svg]", results=f"[{outputs}]", out=tmp_path / "plots")
    site.build([outputs], [], tmp_path / "site", plots=["languages", "depth"])
    page = (tmp_path / "site/benchmark/miracl.html").read_text()
    for name in ("languages", "depth"):
        there = tmp_path / "site/pictures/miracl" / f"{name}.svg"
        assert f'src="../pictures/miracl/{name}.svg" alt="' in page
        assert there.read_bytes() == (tmp_path / "plots/miracl" / there.name).read_bytes()
    (scored,) = outputs.glob("*/*/scores")
    result = shutil.copytree(scored, tmp_path / "results/one")
    site.build([result], [], tmp_path / "alone", plots=["languages", "depth"])
    page = (tmp_path / "alone/benchmark/miracl.html").read_text()
    assert "languages.svg" in page and "depth.svg" not in page


def test_a_site_without_matplotlib_says_that_it_has_no_pictures(
    outputs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = (f"results=[{outputs}]", f"out={tmp_path / 'site'}")
    site.run(Setup(compose(*words, config="site")))
    assert "without pictures: pip install 'm3eval[plot]'" in capsys.readouterr().out
    assert "<img" not in (tmp_path / "site/benchmark/miracl.html").read_text()
