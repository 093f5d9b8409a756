"""Renew the tables of data/results/README.md from the schema of columns.

Usage: python tools/write_columns.py
"""

from pathlib import Path

from patchscape.store import columns

README = Path(__file__).resolve().parents[1] / "data" / "results" / "README.md"

if __name__ == "__main__":
    README.write_text(columns.with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
