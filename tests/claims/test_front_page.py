"""The front page repeats published numbers: they must be those of the data files."""

import csv
import re

import numpy as np
from cases import ROOT
from scipy.stats import gmean

from patchscape import tables


def test_the_table_of_the_front_page_holds_the_published_numbers():
    rows = re.findall(r"^\| (4|9|16) \|(.*)\|$", (ROOT / "intro.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = {
        (int(n), depth): cell.strip()
        for n, cells in rows
        for depth, cell in zip((50, 100, 150, 200), cells.split("|"), strict=True)
    }
    with (ROOT / "data" / "published" / "eigenvalues.csv").open(encoding="utf-8") as file:
        published = {
            (int(row["n_patches"]), int(row["depth"])): (
                f"{float(row['lambda_max']):.2f} ({float(row['train_loss_full']):.4f})"
            )
            for row in csv.DictReader(file)
        }
    assert shown == published


def test_the_front_page_repeats_the_stored_runs():
    text = " ".join((ROOT / "intro.md").read_text(encoding="utf-8").split())
    runs = tables.published.side_by_side().set_index(["n_patches", "depth", "source"]).sort_index()
    assert {(n, 50) for n in (4, 9, 16)} <= {size[:2] for size in runs.index}
    curves, apart = tables.published.curves(), []
    for n in (4, 9, 16):
        ours, published = runs.loc[n, 50, "ours"], runs.loc[n, 50, "published"]
        (*_, leaves) = curves[n, 50]
        assert re.search(rf"follows (the published run )?for {leaves} epochs", text)
        same = ours.epoch == published.epoch
        where = f"the same epoch, number {ours.epoch}," if same else f"epoch {ours.epoch}, not {published.epoch},"
        values = rf"$\lambda_{{\max}}={ours.lambda_max:.2f}$ where {published.lambda_max:.2f} was published"
        assert f"reaches its minimum in {where} with {values}" in text
        apart.append(round(100 * (1 - ours.lambda_max / published.lambda_max)))
    assert f"{min(apart)} to {max(apart)} percent" in text
    assert "The fall with $n$ is far larger, and repeats." in text
    for source in ("ours", "published"):
        assert runs.loc[4, 50, source].lambda_max / runs.loc[16, 50, source].lambda_max > 4


def test_the_sentence_of_the_main_result_holds_for_every_run_of_its_figure():
    text = " ".join((ROOT / "intro.md").read_text(encoding="utf-8").split())
    assert "to within a factor of about three, over two orders of magnitude" in text
    _, law = tables.runs.kinds_of_runs(tables.runs.table(["laptop", "controls"]))
    published = tables.runs.with_law(tables.published.eigenvalues())
    ratios = np.concatenate([law.kappa, published.kappa]) / gmean(law.kappa)
    assert 1 / 3 < ratios.min() < ratios.max() < 3
    assert law.lambda_max.max() / law.lambda_max.min() > 100


def test_the_sentence_on_the_size_holds_for_the_stored_minima():
    text = " ".join((ROOT / "intro.md").read_text(encoding="utf-8").split())
    assert (
        "with more than two layers to about ten percent (one standard deviation), over three orders of magnitude"
        in text
    )
    found = tables.runs.table(["laptop", "controls"]).dropna(subset=["lambda_max"])
    assert found.expected_lambda_max.notna().all()
    deep = found[found.depth > 2]
    assert 900 < deep.lambda_max.max() / deep.lambda_max.min() < 3000
    ratio = np.log(deep.lambda_max / deep.expected_lambda_max)
    assert abs(ratio.mean()) < 0.05
    assert 0.07 < ratio.std() < 0.12
