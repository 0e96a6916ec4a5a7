"""The site in a browser, opened from disk: no errors, no outside requests; every control."""

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from m3eval.commands import drilldown, site
from m3eval.files import write_json
from tests.conftest import words
from tests.needs import needs, needs_program
from tests.reports.test_site import result, write
from tests.test_drilldown import data

pytestmark = [
    needs("playwright", "axe_playwright_python"),
    needs_program("chromium", "apt-get install chromium"),
]
RESULTS = Path(__file__).resolve().parents[1] / "results"
# Whatever of it becomes more than text opens a dialog, asks for a file, or logs an error.
EVIL = '<script>alert(1)</script><img src=x onerror="alert(1)"></script>\'" javascript:alert(1)'
EVIL += "\u2028\u2029\u202e &lt;b&gt; {{ 7 * 7 }} ${alert(1)}"
# An id has no white space.
EVIL_ID = "<img/src=x/onerror=alert(1)>'\"]]>\u202e&amp;"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        started = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens a page with a width and a colour scheme; whatever goes wrong in it fails the test."""
    wrong, contexts = [], []

    def go(page, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.on(
            "console",
            lambda message: (
                wrong.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        tab.on(
            "request",
            lambda request: (
                wrong.append(request.url)
                if not request.url.startswith(("file:", "data:"))
                else None
            ),
        )
        tab.on("requestfailed", lambda request: wrong.append(f"{request.url} failed"))
        name, _, state = page.partition("#")
        tab.goto(f"{(tmp_path / 'site' / name).as_uri()}#{state}")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "the page scrolls sideways"
        )
        return tab

    yield go
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_leaderboard(open_page, tmp_path, width, scheme):
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("index.html", width, scheme)
    head = page.locator("#overview thead th", has_text="qmsum nDCG")
    column = page.locator("#overview td[data-benchmark=qmsum]")
    for order, sign in (("descending", -1), ("ascending", 1)):
        head.get_by_role("button").click()
        values = column.evaluate_all("(cells) => cells.map((cell) => cell.dataset.value)")
        known = [float(value) for value in values if value]
        assert head.get_attribute("aria-sort") == order and known == sorted(
            known, key=lambda value: sign * value
        )
        assert len(known) > 1 and not any(values[len(known) :])  # what was not measured comes last
    page.select_option("[name=retriever]", "dense")
    shown = page.locator("#overview tbody tr:not([hidden]) th").all_inner_texts()
    assert shown and all(name.split()[0] == "dense" for name in shown)
    ranks = page.locator("#overview tbody tr:not([hidden]) td.rank").all_inner_texts()
    assert [rank.split()[-1] for rank in ranks] == ["1", "1", "–"]
    assert page.inner_text("#shown").startswith(f"{len(shown)} of")
    page.select_option("[name=retriever]", "")
    page.select_option("[name=language]", "ko")
    assert "83.5" in page.inner_text("#overview tbody tr:has-text('multi_vector')")
    # Columns that have no Korean left with the filter; the mean is over those that are chosen.
    columns = page.locator("#overview thead th[data-benchmark]:visible")
    assert columns.all_inner_texts() == [
        "demo\nnDCG@10",
        "miracl_tydi\nnDCG@10",
        "tydiqa_goldp\nnDCG@10",
    ]
    page.get_by_role("button", name="none").click()
    assert page.inner_text("#shown").startswith("0 of")
    for name in ("demo", "miracl_tydi"):
        page.get_by_role("checkbox", name=name, exact=True).check()
    assert "mean over 2 of 13 benchmarks in ko" in page.inner_text("#shown")
    first = page.locator("#overview tbody tr:visible").first.locator("td.number:visible")
    rank, mean, *cells = [cell.get_attribute("data-value") for cell in first.all()]
    assert rank == "1" and float(mean) == pytest.approx(sum(map(float, cells)) / 2)
    assert "b-demo_long" not in page.url and "language=ko" in page.url
    again = open_page(f"index.html#{page.url.partition('#')[2]}", width, scheme)
    assert again.inner_text("#overview tbody") == page.inner_text("#overview tbody")

    page = open_page("benchmark/demo.html", width, scheme)
    page.locator("table.scores tbody button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "m3eval embed experiment=demo" in page.inner_text("dialog[open]")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("dialog").get_by_role("button", name="Copy").first.click()
    page.locator("dialog").get_by_role("button", name="copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("dialog pre").first.inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("dialog summary", has_text="only ar").click()
    assert "languages=[ar]" in page.inner_text("dialog[open]")


# What a reader could only reach by scrolling inside of something, or not at all.
HIDDEN = """() => {
    const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().width;
    const scrolls = (element) => {
        const { overflowX, overflowY } = getComputedStyle(element);
        return (overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1)
            || (overflowY !== "visible"
                && element.scrollHeight > element.clientHeight + 1);
    };
    const not = "dialog, dialog *, option, select, .skip";
    const boxes = [...document.querySelectorAll(`body *:not(${not})`)];
    const cells = [...document.querySelectorAll("th, td")].filter(seen);
    const outside = cells.filter((cell) => {
        const { left, right } = cell.getBoundingClientRect();
        return left < 0 || right > innerWidth;
    });
    const hidden = boxes.filter((box) => seen(box) && scrolls(box));
    return [...hidden, ...outside].map((one) => one.outerHTML.slice(0, 200));
}"""


@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_no_row_and_no_column_is_hidden(open_page, pipeline, tmp_path, width):
    """Of pages with few and many languages, with published rows, costs and single queries."""
    site.build([RESULTS], [pipeline("languages=[yo]")], tmp_path / "site")
    for path in sorted((tmp_path / "site").rglob("*.html")):
        page = open_page(f"{path.relative_to(tmp_path / 'site')}#list=all", width)
        for folded in page.locator("main details > summary").all():
            folded.click()
        if path.parent.name == "drilldown":
            page.locator("#queries button").first.click()
            page.wait_for_selector("#query .systems li")
        assert page.evaluate(HIDDEN) == [], path.name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        stacked = page.locator("table.stacked:visible")
        if path.name == "demo.html":  # 18 languages: a table where it fits, else blocks
            assert (stacked.count() > 0) == (width == 400)
        if stacked.count() and path.parent.name == "benchmark":
            cell = stacked.first.locator("tbody td").nth(1)
            label = cell.evaluate("(cell) => getComputedStyle(cell, '::before').content")
            assert label == f'"{cell.get_attribute("data-label")}"' != '""'


def test_a_table_is_stacked_when_the_window_narrows_and_a_table_when_it_widens(open_page, tmp_path):
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("benchmark/demo.html", 1280)
    table = page.locator("table.scores").first
    for width, stacked in ((400, True), (1280, False)):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            """(stacked) => stacked ===
                document.querySelector('table.scores').classList.contains('stacked')""",
            arg=stacked,
        )
        # However it is laid out, it is a table with rows, headings and cells.
        for role in ("row", "columnheader", "rowheader", "cell"):
            assert table.get_by_role(role).count() > 10


def test_averages_over_other_languages_are_never_sorted_among_the_others(open_page, tmp_path):
    folder = write(
        tmp_path / "results",
        one=result(encoder="one"),
        two=result(encoder="two", seed=1),
        best=result(encoder="best", languages=("sw",), retrievers=("all",), seed=80),
        worst=result(encoder="worst", languages=("sw",), retrievers=("dense",), seed=-9),
    )
    site.build([folder], [], tmp_path / "site")
    page = open_page("benchmark/mine.html")
    head = page.locator("table.scores thead th", has_text="average")
    for middle, alone in (
        (["18.5", "17.5", "11.5", "10.5"], ["90.0", "1.0"]),
        (["10.5", "11.5", "17.5", "18.5"], ["1.0", "90.0"]),
    ):
        head.get_by_role("button").click()
        column = page.locator("table.scores tbody tr td:nth-child(2)").all_inner_texts()
        assert [cell.split()[0] for cell in column] == [*middle, *alone]


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark")])
def test_axe_finds_nothing(open_page, pipeline, tmp_path, width, scheme):
    """The rules of axe-core, which comes with its package, on every page and on what opens."""
    from axe_playwright_python.sync_playwright import Axe

    site.build([RESULTS], [pipeline("languages=[yo]")], tmp_path / "site")
    names = (
        "index",
        "benchmark/demo",
        "benchmark/miracl_tydi",
        "benchmark/miracl",
        "drilldown/miracl",
    )
    for name in names:
        page = open_page(f"{name}.html#list=all", width, scheme)
        for folded in page.locator("details > summary").all():
            folded.click()
        if name == "drilldown/miracl":
            page.locator("#queries button").first.click()
            page.wait_for_selector("#query .systems li")
        if name == "benchmark/demo":
            page.locator("table.scores tbody button").first.click()
        # Without preloading: a page that was opened from disk may not read its own style sheet.
        found = Axe().run(page, options={"preload": False}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], name


def test_a_printed_page_has_its_tables_and_no_controls(open_page, tmp_path):
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("benchmark/demo.html")
    page.emulate_media(media="print")
    for hidden in ("#filters", "nav", "footer button"):
        assert not page.locator(hidden).first.is_visible()
    assert page.locator("table.scores").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000


@pytest.mark.parametrize("width", [390, 1280])
def test_the_keyboard_alone(open_page, tmp_path, width):
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("benchmark/demo.html", width)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    head = page.locator("table.scores thead th", has_text="ko").first
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    page.locator("table.scores tbody button").first.focus()
    for key, n in (("ArrowRight", 18), ("ArrowDown", 4), ("ArrowLeft", 12), ("ArrowUp", 4)):
        for _ in range(n):
            page.keyboard.press(key)
            seen = page.evaluate(
                """() => {
                    const button = document.activeElement;
                    const style = getComputedStyle(button);
                    const { left, right, top, bottom } = button.getBoundingClientRect();
                    const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
                    return [style.outlineStyle, there === button];
                }"""
            )
            assert seen == ["solid", True], f"{key}: without a ring, or behind something"


def test_the_picture(open_page, tmp_path):
    """SITE_PICTURE=docs/site.png makes the README's anew."""
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("benchmark/demo.html")
    page.set_viewport_size({"width": 1280, "height": 860})
    path = Path(os.environ.get("SITE_PICTURE", tmp_path / "site.png"))
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < 300_000


def test_single_queries_and_texts_that_try_to_break_out(open_page, pipeline, mirror, tmp_path):
    evil = shutil.copytree(mirror, tmp_path / "evil")
    folder = evil / "miracl/miracl/miracl-v1.0-yo"
    corpus = evil / "miracl/miracl-corpus/miracl-corpus-v1.0-yo/docs-0.jsonl.gz"
    with gzip.open(corpus, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with gzip.open(corpus, "wt", encoding="utf-8") as file:
        for row in rows:
            row |= {"docid": row["docid"] + EVIL_ID, "text": f"{row['text']} {EVIL}"}
            file.write(json.dumps(row) + "\n")
    for kind, line in (("topics", "{0}{2}\t{1}{3}\n"), ("qrels", "{0}{2} Q0 {0}#0{2} 1\n")):
        (path,) = (folder / kind).iterdir()
        fields = [text.split("\t") for text in path.read_text().splitlines()]
        lines = [line.format(qid.split()[0], *more or [""], EVIL_ID, EVIL) for qid, *more in fields]
        path.write_text("".join(lines), encoding="utf-8")
    label = "".join(sign for sign in EVIL if sign not in "'{}$")
    folder = pipeline(f"benchmark.root={evil}", "languages=[yo]", f"encoder.label='{label}'")
    site.build([], [folder], tmp_path / "site")
    page = open_page("drilldown/miracl.html#list=all&a=all&b=sparse", 390)
    page.locator("#queries button").first.click()
    page.wait_for_selector("#query .systems li mark")
    assert "<script>alert(1)</script>" in page.inner_text("#query h2")
    assert EVIL_ID in page.locator("#query .systems li .head").first.text_content()
    assert EVIL_ID in page.locator("#query p").first.text_content()
    assert page.locator("#query .system").count() == 5
    assert "dense" in page.locator("#query .system").first.locator(".parts").first.inner_text()
    page.select_option("[name=mark]", "terms")
    page.locator("#query details.why summary").first.click()
    assert "×" in page.locator("#query details.why").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for path in (tmp_path / "site/data/miracl").iterdir():  # the page unpacks what Python packed
        assert page.evaluate("(key) => m3eval.load(key)", f"miracl/{path.stem}") == data(path)
    page = open_page("benchmark/miracl.html")
    page.locator("table.scores tbody button").first.click()
    assert "<script>" in page.inner_text("dialog[open]")


def test_results_that_try_to_break_out(open_page, tmp_path):
    """Every text of a result and of a comparison, wherever a page shows it."""
    content = result(name="mine", encoder=EVIL)
    origin = content["provenance"]
    for key in ("label", "split"):
        origin["config"]["benchmark"][key] = EVIL.replace("$", "")
    origin["runs_made_with"] = [EVIL]
    origin["evaluated_with"] = {EVIL: EVIL}
    origin["texts"][EVIL] = origin["texts"]["corpus-ko"]
    distance = {"table": EVIL, "reference": 1.0, "delta": 2.0, "verdict": f"not comparable: {EVIL}"}
    content["distances"] = {"nDCG@10": [distance | {"language": "ko", "retriever": "dense"}]}
    row = {"metric": "nDCG@10", "system": EVIL, "against": f"{EVIL}2", "language": "average"}
    comparison = {
        "comparisons": [row | {"difference": 1.0, "p_holm": None}],
        "settings": {"test": EVIL, "alpha": 0.05},
    }
    write(tmp_path / "results", mine=content)
    write_json(tmp_path / "results/mine/comparison.json", comparison)
    site.build([tmp_path / "results"], [], tmp_path / "site")
    page = open_page("index.html#length=1&item=2&constructor=3")
    assert "<script>alert(1)</script>" in page.locator("#overview tbody th").first.get_attribute(
        "title"
    )
    page.select_option("[name=language]", "ko")
    page.locator("#overview tbody a").first.click()
    page.locator("table.scores td button", has_text="[1.0]").first.click()
    page.locator("dialog summary", has_text="texts").click()
    said = page.inner_text("dialog[open]")
    assert said.count("<script>alert(1)</script>") >= 6 and "NaN" not in said


def test_what_has_no_score_is_a_dash(open_page, tmp_path):
    content = result()
    content["scores"]["nDCG@10"]["dense"] = {"ko": 12.0, "sw": None, "average": None}
    write(tmp_path / "results", mine=content)
    site.build([tmp_path / "results"], [], tmp_path / "site")
    page = open_page("index.html")
    cell = page.locator("#overview tbody tr:has-text('dense') td[data-benchmark]")
    assert cell.inner_text().startswith("–") and "2 lang." in cell.inner_text()
    for language, shown in (("sw", "–"), ("ko", "12.0")):
        page.select_option("[name=language]", language)
        assert cell.inner_text() == shown
    page = open_page("benchmark/mine.html")
    row = page.locator("table.scores tbody tr:has-text('dense') td.number")
    assert row.all_inner_texts() == ["–", "12.0", "–"]
    assert "NaN" not in page.inner_text("main") and "None" not in page.content()


def test_single_queries_of_languages_whose_names_are_no_tags(
    open_page, pipeline, corpus_of, tmp_path, monkeypatch
):
    """Their files are told apart, and a question that does not count for a run has a dash."""
    names = ["lang.1", "lang-1"]
    root = corpus_of(
        {name: [(f"{i}", words(i, 8)) for i in range(4)] for name in names},
        {name: [("q1", f"{words(1, 3)} in {name}"), ("q2", words(2, 3))] for name in names},
    )
    asked = ["benchmark=folder", f"benchmark.root={root}", "benchmark.name=own"]
    folder = pipeline(*asked, f"languages=[{','.join(names)}]")
    judge = drilldown.judge

    def without(setup, task, runs, metrics):
        scores = judge(setup, task, runs, metrics)
        if "sparse" in scores:
            del scores["sparse"]["nDCG@10"]["q2"]
        return scores

    monkeypatch.setattr(drilldown, "judge", without)
    site.build([], [folder], tmp_path / "site")
    for name in names:
        page = open_page(f"drilldown/own.html#language={name}&list=all&a=dense&b=sparse")
        rows = page.locator("#queries tbody tr")
        rows.first.wait_for()
        assert rows.count() == 2 and f"in {name}" in rows.first.inner_text()
        assert rows.nth(1).locator("td").all_inner_texts()[1:] == ["–", "–"]
        assert "1 more do not count (–)" in page.inner_text("#summary")
        rows.nth(1).get_by_role("button").click()
        page.locator("#query .system").nth(1).wait_for()
        assert "nDCG@10 –" in page.locator("#query .system").nth(1).inner_text()
