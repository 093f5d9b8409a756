"""The browser that checks, photographs and prints the built pages."""

import shutil

from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "chromium was not found: install it (Debian: apt install chromium)."


def launch(playwright: Playwright) -> Browser:
    """Starts the browser.

    Returns:
        The browser; close it at the end.

    Raises:
        FileNotFoundError: if there is none.
    """
    if CHROMIUM is None:
        raise FileNotFoundError(MISSING)
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def wait_for_formulas(page: Page, timeout: float = 20_000) -> None:
    """Waits until MathJax has set all formulas of a page, if there are any; timeout in milliseconds."""
    if page.locator(".math").count():
        page.wait_for_selector("mjx-container", state="attached", timeout=timeout)
        page.evaluate("() => window.MathJax.startup.promise")


def settle(page: Page, quiet_ms: int = 2000) -> None:
    """Waits until the height of a page has not changed for a while: chromium may fail to print it before."""
    page.evaluate(
        """async (quiet) => {
          let height = 0, since = performance.now();
          while (performance.now() - since < quiet) {
            await new Promise((done) => setTimeout(done, 100));
            const now = document.documentElement.scrollHeight;
            if (now !== height) [height, since] = [now, performance.now()];
          }
        }""",
        quiet_ms,
    )
