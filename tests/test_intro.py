"""The front page repeats published numbers: they must be those of the data files."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
