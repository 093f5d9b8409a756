"""What all tests share: no display, double precision on request, and programs that compile fast."""

import os
from contextlib import contextmanager
from pathlib import Path

import browser as tool
import jax
import matplotlib
import numpy as np
import pytest
from cases import ROOT
from hypothesis import settings

from patchscape import runtime

# Milliseconds for what a browser does: a busy machine of few cores may take half a minute to open a page.
PATIENCE = 120_000

matplotlib.use("Agg")
runtime.compile_fast()
runtime.keep_programs()
# Most tests run a small program once, so that compiling is all they cost. Programs that tests start as processes of
# their own (chapters, the command line) are optimised, as users have them.
jax.config.update("jax_disable_most_optimizations", True)
# The same examples on every run, and no limit of time: the first example of a shape compiles.
settings.register_profile("patchscape", deadline=None, derandomize=True, database=None)
settings.load_profile("patchscape")


def pytest_xdist_auto_num_workers():
    """One process more than processors: tests often wait, for a browser, a kernel, a lock."""
    return None if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") else (os.cpu_count() or 1) + 1


@pytest.fixture
def x64():
    """Double precision within one test."""
    with jax.enable_x64(True):
        yield


@contextmanager
def optimisations():
    """Compiles programs as users have them, for a test that runs more than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def optimised():
    """The whole test under `optimisations`."""
    with optimisations():
        yield


@pytest.fixture(scope="session")
def author():
    """The author's model at four sizes: "n4_d1" -> {"phi", "bias", "images", "logits", "grad_phi", ...}."""
    out = {}
    with np.load(Path(__file__).parent / "data" / "author_model.npz") as stored:
        for key in stored.files:
            size, name = key.split("/")
            out.setdefault(size, {})[name] = stored[key]
    return out


@pytest.fixture(scope="module")
def browser():
    if tool.CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail(tool.MISSING)
        pytest.skip(tool.MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = tool.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser):
    """Function that opens a page without a network: the page, and everything that goes wrong on it.

    Its first argument says of an address whether the page may ask for it.
    """
    contexts = []

    def new_page(allowed, width=1100, **options):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page, faults = context.new_page(), []
        page.on("console", lambda m: faults.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if allowed(r.url) else faults.append(f"asked for {r.url}"))
        return page, faults

    yield new_page
    for context in contexts:
        context.close()


@contextmanager
def visits(browser):
    """Function that opens a page at a width and returns it with everything that went wrong; closes all at its end."""
    contexts = []

    def visit(document, width=1200, **options):
        path = ROOT / "_build" / "html" / f"{document}.html"
        if not path.is_file():
            pytest.fail(f"{path} is not built: run `make book` first")
        context = browser.new_context(offline=True, viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(PATIENCE)
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
        tool.wait_for_formulas(page, PATIENCE)
        return page, faults

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def visit(browser):
    """`visits` for one test."""
    with visits(browser) as visit:
        yield visit
