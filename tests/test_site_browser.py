"""The site in a browser, opened from disk: no errors, no outside requests; every control."""

import os
import shutil
from pathlib import Path

import pytest

from m3eval.commands import site
from tests.needs import needs, needs_program
from tests.test_drilldown import data

pytestmark = [needs("playwright"), needs_program("chromium", "apt-get install chromium")]
RESULTS = Path(__file__).resolve().parents[1] / "results"
EVIL = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


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
    (topics,) = (evil / "miracl/miracl/miracl-v1.0-yo/topics").iterdir()
    topics.write_text("".join(f"{line}{EVIL}\n" for line in topics.read_text().splitlines()))
    folder = pipeline(
        f"benchmark.root={evil}", "languages=[yo]", f"encoder.label='{EVIL.replace(chr(39), '')}'"
    )
    site.build([], [folder], tmp_path / "site")
    page = open_page("drilldown/miracl.html#list=all&a=all&b=sparse", 390)
    page.locator("#queries button").first.click()
    page.wait_for_selector("#query .systems li mark")
    assert EVIL in page.inner_text("#query h2") and page.title() != "broken"
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
    assert page.title() != "broken" and "<script>" in page.inner_text("dialog[open]")
