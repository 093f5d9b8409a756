"""The built pages in a real browser without a network."""

import re
import subprocess
import sys

import book_pages
import check_book
import pytest
from axe_playwright_python.sync_playwright import Axe
from cases import ROOT

HTML = ROOT / "_build" / "html"

pytestmark = [pytest.mark.slow, pytest.mark.book]
each_page = pytest.mark.parametrize("document", check_book.documents(ROOT))


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
    page, _ = visit(document, width=320, device_scale_factor=3)
    too_wide = """() => [...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
    cut_off = """() => [...document.querySelectorAll('article mjx-container:not([display])')]
        .filter(e => e.scrollWidth > innerWidth && getComputedStyle(e).overflowX !== 'auto')
        .map(e => e.outerHTML.slice(0, 120))"""
    for width in (320, 360, 390, 412):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, page.evaluate(too_wide)
        page.wait_for_function(f"() => ({cut_off})().length === 0")


def test_a_figure_wider_than_a_phone_says_so_and_its_caption_stays(visit):
    page, _ = visit("intro", width=390, device_scale_factor=2)
    shadow = "side => getComputedStyle(document.querySelector('#fig-main .figure-box'), side).content !== 'none'"
    page.wait_for_function(f"() => ({shadow})('::after')")
    assert not page.evaluate(shadow, "::before")
    caption = page.locator("#fig-main figcaption").bounding_box()
    page.locator("#fig-main .figure-box").evaluate("box => { box.scrollLeft = box.scrollWidth }")
    page.wait_for_function(f"() => ({shadow})('::before')")
    assert not page.evaluate(shadow, "::after")
    assert page.locator("#fig-main figcaption").bounding_box() == caption
    assert caption["x"] + caption["width"] <= 390


def test_code_wider_than_its_column_fades_out_where_it_goes_on(visit):
    page, _ = visit("chapters/08_controls", width=390)
    code = page.locator(".tag_parameters pre")
    faded = "e => getComputedStyle(e).maskImage !== 'none'"
    page.wait_for_function(f"() => ({faded})(document.querySelector('.tag_parameters pre'))")
    code.evaluate("e => { e.scrollLeft = 1e4 }")
    page.wait_for_function("() => document.querySelector('.tag_parameters pre').dataset.more === 'left'")
    page.set_viewport_size({"width": 1900, "height": 800})
    page.wait_for_function("() => document.querySelector('.tag_parameters pre').dataset.more === ''")
    assert not code.evaluate(faded)


@each_page
def test_page_is_readable_in_dark_mode(visit, document):
    page, faults = visit(document, color_scheme="dark")
    assert faults == []
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_no_serious_accessibility_problem(visit, document, scheme):
    page, _ = visit(document, color_scheme=scheme)
    page.wait_for_load_state("load")
    violations = Axe().run(page).response["violations"]
    serious = [violation for violation in violations if violation["impact"] in {"serious", "critical"}]
    assert [(v["id"], [node["html"][:200] for node in v["nodes"][:5]]) for v in serious] == []


@each_page
def test_printed_page_is_the_article_alone(visit, document):
    page, _ = visit(document, width=794, color_scheme="dark")
    page.emulate_media(media="print")
    shown = "s => [...document.querySelectorAll(s)].filter(e => e.checkVisibility()).map(e => e.className)"
    furniture = ".bd-sidebar, .bd-header-article, .prev-next-footer, .copybtn, .headerlink, .figure-data"
    assert page.evaluate(shown, furniture) == []
    assert len(page.evaluate(shown, "h1")) == 1
    # The browser tells print.js of the change of medium in its own time.
    white = "() => ['rgb(255, 255, 255)', 'rgba(0, 0, 0, 0)'].includes(getComputedStyle(document.body).backgroundColor)"
    page.wait_for_function(white, timeout=20_000)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 794


def test_search_finds_a_chapter_from_the_file_system(visit):
    page, _ = visit("search")
    page.goto(page.url + "?q=eigenvalue")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    found = page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
    assert any("chapters/04_hessian.html" in address for address in found)


def test_folded_code_opens_with_one_click_and_has_a_copy_button(visit):
    page, _ = visit("chapters/01_architecture")
    cell = page.locator("details.hide").first
    assert not cell.locator("pre").first.is_visible()
    cell.locator("summary").click()
    assert cell.locator("pre").first.is_visible()
    assert cell.locator("button.copybtn").count() >= 1


def test_a_chapter_can_be_downloaded_as_the_notebook_it_is(visit):
    page, _ = visit("chapters/01_architecture")
    address = page.locator("a.btn-download-source-button").get_attribute("href")
    stored = (HTML / "chapters" / address).resolve()
    assert stored.read_bytes() == (ROOT / "chapters" / "01_architecture.ipynb").read_bytes()


def test_a_figure_leads_to_the_files_behind_it(visit):
    page, _ = visit("chapters/08_controls")
    page.locator("#fig-controls-lambda a.figure-data").click()
    row = page.locator("tr", has=page.locator("#data-fig-controls-lambda"))
    assert page.url.endswith("status.html#data-fig-controls-lambda")
    row.locator('a[href="#results-laptop"]').click()
    assert "laptop" in page.locator("tr", has=page.locator("#results-laptop")).inner_text()


@each_page
def test_page_leads_on_and_says_how_long_it_takes_to_read(visit, document):
    page, _ = visit(document)
    assert page.locator(".prev-next-footer a").count() >= 1
    assert page.locator(".reading-time").count() == (document not in book_pages.WITHOUT_TIME)


def test_the_whole_book_prints_to_one_file(browser):
    if not (HTML / "index.html").is_file():
        pytest.fail(f"{HTML} is not built: run `make book` first")
    result = subprocess.run([sys.executable, ROOT / "tools" / "print_book.py"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    printed = (ROOT / "out" / "patchscape.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 50
