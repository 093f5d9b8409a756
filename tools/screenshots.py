"""Take pictures of every built page: desktop, phone, dark mode, and as it is printed.

Usage: make screenshots (or: python tools/screenshots.py [PAGE ...]). Pictures: out/screenshots.
"""

import sys
from pathlib import Path

import browser
import check_book
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 360, "height": 740}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "print": {"viewport": {"width": 794, "height": 1123}},  # A4 at 96 dots per inch
}


def main(*asked: str) -> str | None:
    """Takes the pictures of the pages that were asked for, or of all.

    Args:
        *asked: names as in _toc.yml.

    Returns:
        A sentence on what is wrong, if anything is.
    """
    documents, html = check_book.documents(ROOT), ROOT / "_build" / "html"
    if browser.CHROMIUM is None:
        return browser.MISSING
    if not (html / "index.html").is_file():
        return "The book is not built yet: run `make book` first."
    if unknown := sorted(set(asked) - set(documents)):
        return f"The book has no page {unknown[0]!r}: choose from {', '.join(documents)}."
    out = ROOT / "out" / "screenshots"
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = browser.launch(playwright)
        for document in asked or documents:
            for look, options in LOOKS.items():
                context = chromium.new_context(offline=True, **options)
                page = context.new_page()
                page.goto((html / f"{document}.html").as_uri())
                browser.wait_for_formulas(page)
                if look == "print":
                    page.emulate_media(media="print")
                page.screenshot(path=out / f"{document.replace('/', '-')}-{look}.png", full_page=True)
                context.close()
        chromium.close()
    print(f"The pictures are in {out}")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
