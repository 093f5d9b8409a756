"""Print the built book to one PDF file: all pages on one, through the browser, with the style for paper.

Usage: make pdf. Result: out/patchscape.pdf.
"""

import sys
from pathlib import Path

import browser
import build_book
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOOTER = (
    '<div style="width: 100%; text-align: center; font-size: 8px; font-family: sans-serif; color: #666">'
    '<span class="pageNumber"></span></div>'
)
PAPER = {
    "format": "A4",
    "margin": {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
    "display_header_footer": True,
    "header_template": "<span></span>",
    "footer_template": FOOTER,
    "print_background": True,
    "tagged": True,
    "outline": True,
}

# Paper cannot be clicked on, and nothing reruns there.
PREPARE = """() => {
  for (const fold of document.querySelectorAll('.toggle-hidden')) fold.classList.remove('toggle-hidden');
  for (const cell of document.querySelectorAll('.tag_parameters')) cell.remove();
  for (const chapter of document.querySelectorAll('article > section > section')) chapter.style.breakBefore = 'page';
}"""


def prepare(page: Page) -> None:
    """Makes the one page of all pages a book: proofs and answers unfolded, no parameters, chapters on new pages.

    Args:
        page: shows what the builder singlehtml has written.
    """
    browser.wait_for_formulas(page, timeout=120_000)
    page.wait_for_function("() => document.querySelector('.toggle-button')")  # folding has been set up
    page.evaluate(PREPARE)


def write(chromium: Browser, out: Path) -> Page:
    """Prints what the builder singlehtml has written.

    Args:
        chromium: the browser.
        out: the file; it is there whole or not at all.

    Returns:
        The page that was printed, still open.
    """
    page = chromium.new_context(offline=True, viewport={"width": 794, "height": 1123}).new_page()
    page.goto((build_book.NEW / "singlehtml" / "index.html").as_uri())
    prepare(page)
    browser.settle(page)
    out.parent.mkdir(exist_ok=True)
    page.pdf(path=out.with_suffix(".part"), **PAPER)
    out.with_suffix(".part").replace(out)
    return page


def main() -> int:
    """Prints the book.

    Returns:
        The exit status, 0 when the file is written.
    """
    if browser.CHROMIUM is None:
        print(browser.MISSING, file=sys.stderr)
        return 1
    if status := build_book.run(build_book.cache(build_book.keys()), "singlehtml"):
        return status
    out = ROOT / "out" / "patchscape.pdf"
    with sync_playwright() as playwright:  # its end closes the browser
        write(browser.launch(playwright), out)
    print(f"The book is printed: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
