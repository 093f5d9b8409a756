"""The built pages in a real browser without a network."""

import re
from contextlib import nullcontext
from itertools import pairwise

import book_pages
import book_site
import check_book
import pandas as pd
import print_book
import pytest
from axe_playwright_python.sync_playwright import Axe
from cases import ROOT
from conftest import visits

HTML = ROOT / "_build" / "html"

pytestmark = [pytest.mark.slow, pytest.mark.book]


# --- every page: opened once on a desk, once in the dark and once on a phone, for all tests that look at it ---


@pytest.fixture(scope="module", params=check_book.documents(ROOT))
def document(request):
    return request.param


@pytest.fixture(scope="module")
def desk(browser, document):
    with visits(browser) as visit:
        yield visit(document, color_scheme="light")


@pytest.fixture(scope="module")
def dark(browser, document):
    with visits(browser) as visit:
        yield visit(document, color_scheme="dark")


@pytest.fixture(scope="module")
def phone(browser, document):
    with visits(browser) as visit:
        yield visit(document, width=320, device_scale_factor=3)


# Only what is wrong is described in full: to describe all that is right takes as long again.
FOUND = {"resultTypes": ["violations"]}


def serious(axe):
    """What a run of axe found to be wrong: rules, and the first elements that break them."""
    found = [violation for violation in axe.response["violations"] if violation["impact"] in {"serious", "critical"}]
    return [(v["id"], [node["html"][:200] for node in v["nodes"][:5]]) for v in found]


def test_page_loads_offline_without_errors_and_shows_its_maths(desk):
    page, faults = desk
    assert faults == []
    assert page.locator("article h1").first.is_visible()
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".math").count() <= page.locator("mjx-container").count()
    broken = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []


def test_page_does_not_scroll_sideways_on_a_phone(phone):
    page, _ = phone
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


def test_a_page_says_what_it_is_about(desk):
    page, _ = desk
    content = "name => document.querySelector(`meta[name='${name}'], meta[property='${name}']`)?.content"
    words = page.evaluate(content, "description")
    assert words == page.evaluate(content, "og:description")
    assert 20 < len(words) <= book_site.LONGEST
    assert not re.search(r"[\\\\${}]", words), words
    assert page.evaluate(content, "og:site_name") in page.title()


def test_page_leads_on_and_says_how_long_it_takes_to_read(desk, document):
    page, _ = desk
    assert page.locator(".prev-next-footer a").count() >= 1
    assert page.locator(".reading-time").count() == (document not in book_pages.WITHOUT_TIME)


def test_no_part_of_a_figure_is_out_of_sight_on_a_phone(phone):
    page, _ = phone
    page.set_viewport_size({"width": 390, "height": 800})
    out_of_sight = """() => [...document.querySelectorAll('article figure')].filter(figure => {
        const shown = [...figure.querySelectorAll('.figure-tile > span')];
        const parts = shown.length ? shown : [...figure.querySelectorAll('img')];
        return figure.querySelector('img') && !parts.every(part => {
          const box = part.getBoundingClientRect();
          let [left, right] = [0, innerWidth];
          for (let e = part.parentElement; e; e = e.parentElement)
            if (getComputedStyle(e).overflowX !== 'visible') {
              const frame = e.getBoundingClientRect();
              [left, right] = [Math.max(left, frame.left), Math.min(right, frame.right)];
            }
          return box.width > 20 && box.height > 10 && box.left >= left - 1 && box.right <= right + 1;
        })}).map(figure => figure.id)"""
    assert page.evaluate(out_of_sight) == []


def test_page_is_readable_in_dark_mode(dark):
    page, faults = dark
    assert faults == []
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_page_has_no_serious_accessibility_problem(desk):
    assert serious(Axe().run(desk[0], options=FOUND)) == []


def test_page_has_no_serious_accessibility_problem_in_the_dark(dark):
    assert serious(Axe().run(dark[0], options=FOUND)) == []


def test_printed_page_is_the_article_alone(dark):
    # The last test of the dark page, which stays as printed.
    page, _ = dark
    page.set_viewport_size({"width": 794, "height": 800})
    page.emulate_media(media="print")
    shown = "s => [...document.querySelectorAll(s)].filter(e => e.checkVisibility()).map(e => e.className)"
    furniture = ".bd-sidebar, .bd-header-article, .prev-next-footer, .copybtn, .headerlink, .figure-data"
    assert page.evaluate(shown, furniture) == []
    assert len(page.evaluate(shown, "h1")) == 1
    # The browser tells print.js of the change of medium in its own time.
    white = "() => ['rgb(255, 255, 255)', 'rgba(0, 0, 0, 0)'].includes(getComputedStyle(document.body).backgroundColor)"
    page.wait_for_function(white)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 794


# --- some pages, each opened for its test ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_panels_of_a_figure_stand_below_each_other_at_full_size(visit, scheme):
    page, faults = visit("intro", width=390, device_scale_factor=2, color_scheme=scheme)
    panels = page.locator("#fig-main .figure-tile")
    first, second = (panels.nth(i).bounding_box() for i in (0, 1))
    assert panels.count() == 2
    for box in (first, second):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert first["y"] + first["height"] <= second["y"]
    assert second["y"] + second["height"] <= page.locator("#fig-main figcaption").bounding_box()["y"]
    # Each shows half of a picture that is 728 px wide on a wide page, so letters are as large as there.
    assert first["width"] + second["width"] > 0.9 * 728
    # The two show different parts, and something is on each.
    shots = [panels.nth(i).screenshot() for i in (0, 1)]
    assert min(map(len, shots)) > 5000
    assert shots[0] != shots[1]
    # Those who listen have the picture with its text, and a finger or the keyboard gets to the whole.
    assert page.locator("#fig-main").get_by_role("img", name="Left, dots along the line of equality").count() == 1
    full = page.locator("#fig-main").get_by_role("link", name="Full size")
    assert full.get_attribute("href") == page.locator("#fig-main a.figure-tiles").get_attribute("href")
    full.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**.png")
    assert page.evaluate("() => document.images[0].naturalWidth") > 1500
    assert faults == []


def test_a_wide_page_shows_figures_whole(visit):
    page, _ = visit("intro", width=1350)
    assert page.locator("#fig-main img").bounding_box()["width"] > 600
    for part in (".figure-tiles", ".figure-full"):
        assert page.locator(f"#fig-main {part}").count() == 1
        assert not page.locator(f"#fig-main {part}").is_visible()


VERDICTS = {"intro": "#four-claims-and-what-became-of-them", "chapters/08_controls": "#claim-by-claim"}


@pytest.mark.parametrize("document", VERDICTS)
def test_on_a_phone_each_row_of_the_verdicts_is_a_card(visit, document):
    page, _ = visit(document, width=390, device_scale_factor=2)
    table = page.locator(f"{VERDICTS[document]} table").first
    names = [name.strip() for name in table.locator("th").all_text_contents()]
    assert names[:2] == ["claim", "verdict"]
    assert not table.locator("th").first.is_visible()
    rows = table.locator("tbody tr")
    assert rows.count() > 5
    for row in (rows.nth(i) for i in range(rows.count())):
        shown = [cell for cell in row.locator("td").all() if cell.is_visible()]
        claim, verdict, *_ = shown
        for cell in shown:
            box = cell.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        assert verdict.bounding_box()["y"] >= claim.bounding_box()["y"] + claim.bounding_box()["height"]
        assert verdict.locator(".card-label").inner_text() == "verdict"
        assert verdict.locator("strong").is_visible()
    page.set_viewport_size({"width": 1350, "height": 800})
    assert table.locator("th").first.is_visible()
    assert not table.locator(".card-label").first.is_visible()


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


def test_search_finds_a_chapter_from_the_file_system(visit):
    page, _ = visit("search")
    page.goto(page.url + "?q=eigenvalue")
    # Results come one after another, so the first of them says nothing of the others.
    page.locator('#search-results li a[href*="chapters/04_hessian.html"]').first.wait_for()


def test_folded_code_opens_with_one_click_and_has_a_copy_button(visit):
    page, _ = visit("chapters/01_architecture")
    cell = page.locator("details.hide").first
    assert not cell.locator("pre").first.is_visible()
    cell.locator("summary").click()
    assert cell.locator("pre").first.is_visible()
    assert cell.locator("button.copybtn").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_folded_code_is_a_small_link_that_the_keyboard_reaches(visit, scheme):
    page, _ = visit("chapters/06_landscape", width=1350, color_scheme=scheme)
    links = page.locator("article details.hide > summary")
    sizes = [link.bounding_box() for link in links.all()]
    assert len(sizes) > 10
    assert all(24 <= size["height"] < 40 and size["width"] < 160 for size in sizes), sizes
    # Cells in a row that show nothing share a line with the next of them.
    assert any(a["y"] == b["y"] for a, b in pairwise(sizes))
    links.first.scroll_into_view_if_needed()
    links.first.evaluate("e => document.querySelector('article a').focus()")
    for _ in range(200):
        page.keyboard.press("Tab")
        if links.first.evaluate("e => e === document.activeElement"):
            break
    ring = links.first.evaluate("e => [getComputedStyle(e).outlineStyle, parseFloat(getComputedStyle(e).outlineWidth)]")
    assert ring == ["solid", 3]
    page.keyboard.press("Enter")
    assert page.locator("article details.hide").first.locator("pre").first.is_visible()


def test_a_chapter_can_be_downloaded_as_the_notebook_it_is(visit):
    page, _ = visit("chapters/01_architecture")
    address = page.locator("a.btn-download-source-button").get_attribute("href")
    stored = (HTML / "chapters" / address).resolve()
    assert stored.read_bytes() == (ROOT / "chapters" / "01_architecture.ipynb").read_bytes()


def test_a_figure_leads_to_its_numbers_and_to_the_files_behind_it(visit):
    page, _ = visit("chapters/08_controls")
    links = page.locator("#fig-controls-lambda a.figure-data")
    assert links.all_inner_texts() == ["Data (CSV)", "Sources"]
    file = (HTML / "chapters" / links.nth(0).get_attribute("href")).resolve()
    rows = pd.read_csv(file)
    assert {"panel", "x", "y"} <= set(rows.columns)
    assert len(rows) > 100
    links.nth(1).click()
    row = page.locator("tr", has=page.locator("#data-fig-controls-lambda"))
    assert page.url.endswith("status.html#data-fig-controls-lambda")
    row.locator('a[href="#results-laptop"]').click()
    assert "laptop" in page.locator("tr", has=page.locator("#results-laptop")).inner_text()


def test_every_figure_with_axes_offers_its_numbers(visit):
    page, _ = visit("chapters/06_landscape")
    figures = page.locator("figure[id^=fig-]")
    assert figures.count() == page.locator("a.figure-data", has_text="CSV").count() > 8


# What a link shows before it is followed: page, link, and what is found in the preview.
PREVIEWS = {
    "figure": ("intro", 'article a[href$="#fig-beyond-functions"]', "figure img"),
    "equation": ("chapters/02_bound", 'article a.reference[href^="#equation-"]', "mjx-container"),
    "citation": ("intro", 'article a[href^="references.html#"]', ".citation"),
    "section": ("intro", 'article a[href$="02_bound.html#chapter-theory"]', "h1"),
}


@pytest.mark.parametrize("kind", PREVIEWS)
@pytest.mark.parametrize("by", ["pointer", "keyboard"])
def test_a_link_shows_what_it_leads_to(visit, kind, by):
    document, selector, content = PREVIEWS[kind]
    page, faults = visit(document)
    page.wait_for_load_state("load")
    link = page.locator(selector).first
    link.scroll_into_view_if_needed()
    if by == "pointer":
        link.hover()
    else:
        link.focus()
    shown = page.locator(f".tippy-box {content}").first
    shown.wait_for(state="visible")
    described = link.get_attribute("aria-describedby")
    assert page.locator(f"#{described} .tippy-box[role=tooltip]").count() == 1
    ground = page.locator(".tippy-box").evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground != "rgba(0, 0, 0, 0)"
    page.keyboard.press("Escape")
    if by == "keyboard":
        link.blur()
    else:
        page.mouse.move(0, 0)
    page.locator(".tippy-box").wait_for(state="detached")
    assert faults == []


@pytest.mark.parametrize("kind", PREVIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_open_preview_has_no_serious_accessibility_problem(visit, kind, scheme):
    document, selector, content = PREVIEWS[kind]
    page, _ = visit(document, color_scheme=scheme)
    page.wait_for_load_state("load")
    page.locator(selector).first.focus()
    page.locator(f".tippy-box {content}").first.wait_for(state="visible")
    page.wait_for_function("() => getComputedStyle(document.querySelector('.tippy-box')).opacity === '1'")
    found = Axe().run(page, context="[data-tippy-root]")
    seen = {rule["id"] for rule in found.response["passes"]}  # that something was looked at
    assert ("aria-roles" if kind == "equation" else "color-contrast") in seen  # a formula is no text to axe
    assert serious(found) == []


def test_a_preview_fits_a_phone(visit):
    page, _ = visit("intro", width=390, device_scale_factor=2)
    page.wait_for_load_state("load")
    page.locator('article a[href$="#fig-beyond-functions"]').first.focus()
    box = page.locator(".tippy-box")
    box.wait_for(state="visible")
    place = box.bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= 390


def test_the_page_for_lost_readers_leads_back(visit):
    page, faults = visit("404")
    page.locator("article a", has_text="front page").click()
    assert page.url.rsplit("/", 1)[1] in {"index.html", "intro.html"}  # the one leads to the other at once
    assert faults == []


def test_the_experiment_runs_on_its_page(visit):
    page, faults = visit("experiment")
    for n in (4, 9):
        page.uncheck(f'[name=experiment-n][value="{n}"]', force=True)
    page.locator("text=Train and measure").click()
    page.locator("tbody tr", has_text="mean").wait_for()
    value, residual = (float(page.locator(".experiment tbody td").nth(column).inner_text()) for column in (7, 8))
    assert 0 < residual < 1e-5 * value
    assert faults == []


def test_the_whole_book_prints_to_one_file(browser, monkeypatch):
    if not (HTML / "index.html").is_file():
        pytest.fail(f"{HTML} is not built: run `make book` first")
    pages, write = [], print_book.write
    monkeypatch.setattr(print_book, "sync_playwright", nullcontext)
    monkeypatch.setattr(print_book.browser, "launch", lambda _: browser)
    monkeypatch.setattr(print_book, "write", lambda *arguments: pages.append(write(*arguments)))
    assert print_book.main() == 0
    printed = (ROOT / "out" / "patchscape.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 50
    (page,) = pages
    assert page.locator("article h2 > .section-number").all_inner_texts() == [f"{i}. " for i in range(1, 11)]
    assert page.locator(".tag_parameters").count() == 0
    folds = page.locator(".admonition.dropdown > p:last-child")
    assert folds.count() > 10
    shown = "all => all.every(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))"
    assert folds.evaluate_all(shown)
    page.context.close()
