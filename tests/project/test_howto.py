"""The code that the pages for users print runs exactly as it stands."""

import re

import pytest
from cases import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections():
    """Yields a name, and the code blocks, of every section of a page that has any."""
    for page in ("howto", "api"):
        text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
        for part in re.split(r"^## ", text, flags=re.MULTILINE):
            if blocks := BLOCK.findall(part):
                slow = [pytest.mark.slow] if page == "api" else []  # it trains a model
                yield pytest.param(blocks, id=f"{page}: {part.splitlines()[0]}", marks=slow)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", list(sections()))
def test_the_code_of_a_section_runs_as_it_is_printed(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "printed"}
    for block in blocks:
        exec(compile(block, "printed", "exec"), names)


def test_every_block_of_these_pages_that_is_python_says_so():
    for page in ("howto", "api"):
        fences = re.findall(r"^```(.*)$", (ROOT / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"python", "{eval-rst}"}
