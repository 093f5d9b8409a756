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


def main() -> None:
    """Takes the pictures of the pages that were asked for, or of all."""
    out = ROOT / "out" / "screenshots"
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = browser.launch(playwright)
        for document in sys.argv[1:] or check_book.documents(ROOT):
            for look, options in LOOKS.items():
                context = chromium.new_context(offline=True, **options)
                page = context.new_page()
                page.goto((ROOT / "_build" / "html" / f"{document}.html").as_uri())
                browser.wait_for_formulas(page)
                if look == "print":
                    page.emulate_media(media="print")
                page.screenshot(path=out / f"{document.replace('/', '-')}-{look}.png", full_page=True)
                context.close()
        chromium.close()
    print(f"The pictures are in {out}")


if __name__ == "__main__":
    main()
