"""Print the built book to one PDF file: all pages on one, through the browser, with the style for paper.

Usage: make pdf. Result: out/patchscape.pdf.
"""

import shutil
import sys
from pathlib import Path

import build_book
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOOTER = (
    '<div style="width: 100%; text-align: center; font-size: 8px; font-family: sans-serif; color: #666">'
    '<span class="pageNumber"></span></div>'
)


def main() -> int:
    """Prints the book.

    Returns:
        The exit status, 0 when the file is written.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("Printing needs a browser, and none was found: install chromium (Debian: apt install chromium).")
        return 1
    if status := build_book.run("singlehtml"):
        return status
    out = ROOT / "out" / "patchscape.pdf"
    out.parent.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 794, "height": 1123}).new_page()
        page.goto((build_book.BUILD / "singlehtml" / "index.html").as_uri())
        page.wait_for_selector("mjx-container", state="attached", timeout=120_000)
        page.evaluate("() => window.MathJax.startup.promise")
        margin = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
        look = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": FOOTER}
        page.pdf(
            path=out.with_suffix(".part"),
            format="A4",
            print_background=True,
            tagged=True,
            outline=True,
            margin=margin,
            **look,
        )
        browser.close()
    out.with_suffix(".part").replace(out)
    print(f"The book is printed: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
