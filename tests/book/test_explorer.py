"""The explorer as a file of its own, in a real browser without a network."""

import json

import pytest
from cases import ROOT
from typer.testing import CliRunner

from patchscape.book import explorer
from patchscape.cli import app

pytestmark = pytest.mark.slow
PHONES = [(width, ratio) for width in (360, 390, 412) for ratio in (2, 3)]


@pytest.fixture(scope="module")
def content():
    return explorer.collect()


@pytest.fixture(scope="module")
def file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(explorer.page(content), encoding="utf-8")
    return path


@pytest.fixture
def opened(new_page, file):
    """Open the explorer; return the page and everything that went wrong."""

    def opened(width=1100, **options):
        page, faults = new_page(lambda url: url == file.as_uri(), width, **options)
        page.goto(file.as_uri())
        return page, faults

    return opened


def surface(page):
    return page.evaluate("() => document.querySelector('.explorer-pair > canvas').toDataURL()")


def test_the_same_results_give_the_same_bytes_and_they_are_few(content, file):
    assert explorer.page(explorer.collect()) == explorer.page(content)
    assert file.stat().st_size < 5e6
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_command_writes_that_file(tmp_path, file):
    done = CliRunner().invoke(app, ["explorer", "--out", str(tmp_path / "e.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "e.html").read_bytes() == file.read_bytes()


def test_it_opens_offline_and_shows_surface_spectrum_curve_and_eigenvalues(opened):
    page, faults = opened()
    assert faults == []
    assert len(surface(page)) > 10_000
    assert page.locator('[data-plot="hidden"] polyline').count() == 2
    for plot in ("training", "spectrum", "sharpness"):
        assert page.locator(f'[data-plot="{plot}"] circle').count() >= 1
        assert page.locator(f'[data-plot="{plot}"]').get_attribute("aria-label")


def test_every_choice_draws_without_an_error(opened, content):
    page, faults = opened()
    for run in content["runs"]:
        page.check(f'[name=explorer-n][value="{run["n"]}"]', force=True)
        page.check(f'[name=explorer-d][value="{run["d"]}"]', force=True)
        for seed in run["seeds"][:: len(run["seeds"]) - 1 or 1]:
            page.select_option("[data-choice=seed]", str(seed))
            text = page.locator(".explorer-summary").inner_text()
            assert f"n = {run['n']}, d = {run['d']}, seed {seed}," in text
            assert "NaN" not in text
            assert "undefined" not in text
    assert faults == []


def test_a_choice_changes_the_picture_and_the_words(opened):
    page, _ = opened()
    before, words = surface(page), page.locator(".explorer-surface figcaption").inner_text()
    page.select_option("[data-choice=view]", "eigen")
    assert surface(page) != before
    assert page.locator(".explorer-surface figcaption").inner_text() != words


def test_keys_turn_the_surface_and_home_brings_it_back(opened):
    page, _ = opened()
    page.focus(".explorer-pair > canvas")
    seen = [surface(page)]
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
        seen.append(surface(page))
    assert len(set(seen)) == 4
    page.keyboard.press("Home")
    assert surface(page) == seen[0]


def test_all_controls_are_reached_by_tab_and_have_names(opened):
    page, _ = opened()
    names = []
    for _ in range(18):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate("""() => { const e = document.activeElement;
            return e.getAttribute('aria-label') || e.closest('label')?.textContent || e.textContent; }""")
        )
    assert all(name.strip() for name in names)
    assert any(name.startswith("Loss surface") for name in names)
    assert "tilt up" in names


def hash_of(page):
    return page.evaluate("() => location.hash")


def test_the_address_holds_what_is_chosen_and_leads_back_to_it(opened, file):
    page, faults = opened()
    page.check('[name=explorer-n][value="9"]', force=True)
    page.select_option("[data-choice=view]", "eigen")
    page.select_option("[data-choice=other]", "n = 4, d = 2, seed 0")
    page.fill("[data-choice=epoch]", "7")
    address, words, seen = hash_of(page), page.locator(".explorer-summary").inner_text(), surface(page)
    assert "n=9" in address
    page.goto("about:blank")
    page.goto(file.as_uri() + address)
    assert page.locator(".explorer-summary").inner_text() == words
    assert surface(page) == seen
    assert page.locator("[data-choice=other]").input_value() == "n = 4, d = 2, seed 0"
    assert page.locator("[data-text=epoch]").inner_text() == "7"
    page.evaluate("() => { location.hash = 'n=1&d=2&seed=0' }")
    page.wait_for_function("() => document.querySelector('.explorer-summary').textContent.startsWith('n = 1, d = 2')")
    assert not [fault for fault in faults if "asked for" not in fault]


@pytest.mark.parametrize("address", ["#n=5&d=2", "#explorer", "#n=9&d=6&seed=77&view=none&beside=1-1-1&epoch=-4", "#%"])
def test_an_address_that_leads_nowhere_does_no_harm(opened, file, address):
    page, faults = opened()
    page.goto("about:blank")
    page.goto(file.as_uri() + address)
    assert len(surface(page)) > 10_000
    assert "undefined" not in page.locator(".explorer").inner_text()
    assert not [fault for fault in faults if "asked for" not in fault]


def test_two_surfaces_stand_side_by_side_and_turn_together(opened):
    page, _ = opened()
    second = page.locator("[data-surface='1']")
    assert not second.is_visible()
    page.select_option("[data-choice=other]", "n = 9, d = 6, seed 0")
    assert "n = 9, d = 6, seed 0" in second.get_attribute("aria-label")
    first = page.locator("[data-surface='0']").bounding_box()
    place = second.bounding_box()
    assert (place["y"], place["width"]) == (first["y"], first["width"])
    image = "() => [...document.querySelectorAll('[data-surface]')].map(e => e.toDataURL())"
    before = page.evaluate(image)
    second.focus()
    page.keyboard.press("ArrowLeft")
    assert not set(before) & set(page.evaluate(image))


def test_only_what_is_stored_can_be_chosen(opened, content):
    page, _ = opened()
    with_surface = {f"n = {r['n']}, d = {r['d']}, seed {s}" for r in content["runs"] for s in r["views"]}
    options = page.locator("[data-choice=other] option").all_inner_texts()
    assert set(options) == {"nothing", *with_surface}
    for run in content["runs"]:
        page.check(f'[name=explorer-n][value="{run["n"]}"]', force=True)
        depths = [other["d"] for other in content["runs"] if other["n"] == run["n"]]
        shown = page.locator("[data-choice=d] label:visible").all_inner_texts()
        assert [int(text) for text in shown] == sorted(depths)
    assert all(list(run["views"]) == ["0"] for run in content["runs"])
    page.check('[name=explorer-n][value="16"]', force=True)
    assert page.locator(".explorer-surface").is_visible()
    page.select_option("[data-choice=seed]", "3")
    assert page.locator("[data-choice=view]").is_disabled()
    assert not page.locator(".explorer-surface").is_visible()
    said = "No surface is stored for this run, but for seed 0 of the same size."
    assert said in page.locator(".explorer-summary").inner_text()


def test_every_preset_leads_to_two_surfaces(opened):
    page, faults = opened()
    presets = page.locator(".explorer-presets button")
    assert presets.count() == 3
    for number in range(3):
        presets.nth(number).click()
        assert page.locator("[data-surface='1']").is_visible()
    assert faults == []


def test_the_slider_moves_the_epoch_in_surface_and_curves(opened):
    page, _ = opened()
    dot = "() => document.querySelector('[data-plot=training] circle:last-of-type').getAttribute('cx')"
    before = surface(page), page.evaluate(dot)
    page.focus("[data-choice=epoch]")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.locator("[data-text=epoch]").inner_text() == "25"
    assert surface(page) != before[0]
    assert float(page.evaluate(dot)) < float(before[1])


def test_a_point_of_the_law_leads_to_its_run(opened, content):
    page, _ = opened()
    run = next(r for r in content["runs"] if r["n"] == 16)
    assert page.locator('[data-plot="law"] circle[data-run]').count() == sum(len(r["seeds"]) for r in content["runs"])
    page.locator(f'[data-plot="law"] [data-run="16,{run["d"]},3"]').dispatch_event("click")
    assert f"n = 16, d = {run['d']}, seed 3," in page.locator(".explorer-summary").inner_text()


def test_the_expected_spectrum_is_drawn_where_it_is_stored(opened, content):
    page, _ = opened()
    for run in content["runs"]:
        page.check(f'[name=explorer-n][value="{run["n"]}"]', force=True)
        page.check(f'[name=explorer-d][value="{run["d"]}"]', force=True)
        drawn = page.locator('[data-plot="spectrum"] [data-line="expected"]').count()
        assert drawn == bool(run["expected"] and not run["all_eigenvalues"])


def drag(page, across, down):
    """Moves a finger over the surface, in steps that a browser takes for a drag."""
    page.locator(".explorer-pair > canvas").first.scroll_into_view_if_needed()
    box = page.locator(".explorer-pair > canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):
        point = {"x": x + across * step / 10, "y": y + down * step / 10}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_that_moves_sideways_turns_the_surface(opened):
    page, _ = opened(width=360, has_touch=True, is_mobile=True)
    before = surface(page)
    drag(page, 125, 0)
    assert surface(page) != before


def test_a_finger_that_moves_upwards_scrolls_the_page_and_leaves_the_surface(opened):
    page, _ = opened(width=360, has_touch=True, is_mobile=True, device_scale_factor=2)
    before, start = surface(page), page.evaluate("() => scrollY")
    drag(page, 0, -150)
    page.wait_for_function("start => scrollY > start + 100", arg=start)
    assert surface(page) == before


def test_it_does_not_scroll_sideways_on_a_phone(opened):
    page, _ = opened(width=360)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def phones(browser, content, tmp_path_factory):
    """The explorer under the style sheet of the book: what each phone shows at once and a second later."""
    path = tmp_path_factory.mktemp("phones") / "page.html"
    path.write_text(
        f"""<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <link rel="stylesheet" href="{(ROOT / "_static" / "custom.css").as_uri()}"><body style="margin: 16px">
        <article class="bd-article"><div class="cell_output"><div class="output text_html">
        {explorer.fragment(content)}</div></div></article>""",
        encoding="utf-8",
    )
    shown = """() => { const surface = document.querySelector('.explorer-pair > canvas');
        return { drawn: [surface.width, surface.height], shown: [surface.clientWidth, surface.clientHeight],
            page: document.documentElement.scrollHeight,
            wide: [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > screen.width)
                .map(e => e.outerHTML.slice(0, 80)) }; }"""
    pages = {}
    for width, ratio in PHONES:
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 800}, device_scale_factor=ratio, is_mobile=True
        )
        pages[width, ratio] = context.new_page()
        pages[width, ratio].goto(path.as_uri())
    first = {phone: page.evaluate(shown) for phone, page in pages.items()}
    pages[PHONES[0]].wait_for_timeout(1000)
    later = {phone: page.evaluate(shown) for phone, page in pages.items()}
    for page in pages.values():
        page.context.close()
    return first, later


@pytest.mark.parametrize("phone", PHONES)
def test_on_a_phone_it_fits_the_screen_and_keeps_its_size(phones, phone):
    first, later = (seen[phone] for seen in phones)
    width, height = later["shown"]
    assert later["wide"] == []
    assert phone[0] - 40 < width == height
    assert later["drawn"] == [2 * width, 2 * height]
    assert first == later


def test_it_follows_the_dark_theme_of_the_book(opened):
    page, faults = opened()
    page.add_style_tag(content="html[data-theme=dark] { --pst-color-text-base: #eee; --pst-color-background: #111 }")
    before = surface(page)
    page.evaluate("() => document.documentElement.setAttribute('data-theme', 'dark')")
    page.wait_for_function(
        "before => document.querySelector('.explorer-pair > canvas').toDataURL() !== before", arg=before
    )
    assert faults == []


def test_without_scripts_and_in_print_there_is_no_dead_control(opened):
    page, _ = opened(java_script_enabled=False)
    assert page.locator("noscript").count() == 1
    assert not page.locator(".explorer-live").is_visible()
    page, _ = opened()
    page.emulate_media(media="print")
    assert not page.locator(".explorer-live").is_visible()


def test_on_its_page_in_the_dark_no_light_ground_lies_behind_it(visit):
    page, faults = visit("explorer", color_scheme="dark")
    assert faults == []
    ground = "() => getComputedStyle(document.querySelector('.explorer').parentElement).backgroundColor"
    assert page.evaluate(ground) == "rgba(0, 0, 0, 0)"
