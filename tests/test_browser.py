"""The built pages in a real browser without a network."""

import os
import shutil
from pathlib import Path

import check_book
import pytest

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.slow
each_page = pytest.mark.parametrize("document", check_book.documents(ROOT))


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        message = "the browser test needs chromium (Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open a page at a width; return it with everything that went wrong."""
    contexts = []

    def visit(document, width=1200, **options):
        path = HTML / f"{document}.html"
        if not path.is_file():
            pytest.fail(f"{path} is not built: run `make book` first")
        context = browser.new_context(offline=True, viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page, faults = context.new_page(), []
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(f"asked for {r.url}"),
        )
        page.goto(path.as_uri())
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", state="attached", timeout=20_000)
            page.evaluate("() => window.MathJax.startup.promise")
        return page, faults

    yield visit
    for context in contexts:
        context.close()


@each_page
def test_page_loads_offline_without_errors_and_shows_its_maths(visit, document):
    page, faults = visit(document)
    assert faults == []
    assert page.locator("article h1").first.is_visible()
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".math").count() <= page.locator("mjx-container").count()
    broken = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []


@each_page
def test_page_does_not_scroll_sideways_on_a_phone(visit, document):
    page, _ = visit(document, width=360)
    too_wide = """() => [...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360, page.evaluate(too_wide)
    cut_off = """() => [...document.querySelectorAll('article mjx-container:not([display])')]
        .filter(e => e.scrollWidth > innerWidth && getComputedStyle(e).overflowX !== 'auto')
        .map(e => e.outerHTML.slice(0, 120))"""
    page.wait_for_function(f"() => ({cut_off})().length === 0")


@each_page
def test_page_is_readable_in_dark_mode(visit, document):
    page, faults = visit(document, color_scheme="dark")
    assert faults == []
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
