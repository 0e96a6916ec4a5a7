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

pytestmark = [needs("playwright"), needs_program("chromium", "apt-get install chromium")]
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
    assert page.inner_text("#shown").startswith(f"{len(shown)} of")
    page.select_option("[name=retriever]", "")
    page.select_option("[name=language]", "ko")
    assert "60.3" in page.inner_text("#overview tbody tr:has-text('multi_vector')")
    page.select_option("[name=benchmark]", "xquad")
    assert page.inner_text("#shown").startswith("0 of")  # it has no Korean

    page = open_page("benchmark/demo.html", width, scheme)
    page.locator("table.scores tbody button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "m3eval embed experiment=demo" in page.inner_text("dialog[open]")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("dialog summary", has_text="only ar").click()
    assert "languages=[ar]" in page.inner_text("dialog[open]")


def test_the_keyboard_alone(open_page, tmp_path):
    site.build([RESULTS], [], tmp_path / "site")
    page = open_page("benchmark/demo.html", 390)
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
                    const first = button.closest("tr").cells[0];
                    const head = button.closest("table").tHead.rows[0];
                    const [cell, name, top] = [button, first, head]
                        .map((element) => element.getBoundingClientRect());
                    return [style.outlineStyle, cell.left - name.right, cell.top - top.bottom];
                }"""
            )
            ring, *distances = seen
            assert ring == "solid", f"{key}: without a ring"
            assert min(distances) >= 0, f"{key}: behind a heading"


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
    assert "<script>alert(1)</script>" in page.locator("#overview tbody th").first.text_content()
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
    cell = page.locator("#overview tbody tr:has-text('dense') td")
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
