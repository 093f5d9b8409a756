"""The front page says in words and numbers what is stored: both must agree."""

import re

import numpy as np
import pytest
from cases import ROOT
from scipy.stats import gmean

from patchscape import tables


@pytest.fixture(scope="module")
def text():
    return " ".join((ROOT / "intro.md").read_text(encoding="utf-8").split())


def test_the_sentence_of_the_law_holds_for_every_run(text):
    assert "it holds to within a factor of about three, over two orders of magnitude" in text
    _, law = tables.runs.kinds_of_runs(tables.runs.table(["laptop", "controls"]))
    published = tables.runs.with_law(tables.published.eigenvalues())
    ratios = np.concatenate([law.kappa, published.kappa]) / gmean(law.kappa)
    assert 1 / 3 < ratios.min() < ratios.max() < 3
    assert law.lambda_max.max() / law.lambda_max.min() > 100


def test_the_sentence_on_the_averaging_holds_for_mean_and_sum(text):
    assert "With a sum in place of the mean, the eigenvalue over the loss factor $1-e^{-L}$ rises with $n$" in text
    every = tables.runs.table(["laptop", "controls"])
    for fixed, rises in (({}, False), ({"aggregation": "sum"}, True)):
        rows = tables.runs.vary(every, "n_patches", **fixed).query("n_patches > 1")
        steps = np.diff(np.log(rows.scaled / rows.n_patches).groupby(rows.n_patches).mean())
        assert len(steps) == 2
        assert np.all((steps > 0) == rises)


def test_the_sentence_on_the_size_holds_for_the_stored_minima(text):
    size = "with more than two layers to about ten percent (one standard deviation), over three orders of magnitude"
    assert size in text
    found = tables.runs.table(["laptop", "controls"]).dropna(subset=["lambda_max"])
    assert found.expected_lambda_max.notna().all()
    deep = found[found.depth > 2]
    assert 900 < deep.lambda_max.max() / deep.lambda_max.min() < 3000
    ratio = np.log(deep.lambda_max / deep.expected_lambda_max)
    assert abs(ratio.mean()) < 0.05
    assert 0.07 < ratio.std() < 0.12


def test_the_front_page_is_short(text):
    prose = re.sub(r"```\{code-cell\}.*?```", "", text[text.index("# Loss landscapes") :])
    assert len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w+\}`[^`]*`|\$[^$]*\$", "", prose))) < 900
