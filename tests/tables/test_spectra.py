"""What is counted in stored spectra."""

from pathlib import Path

import numpy as np
import pytest

from patchscape.store import columns, grids, records
from patchscape.tables import runs, spectra


@pytest.mark.parametrize(("classes", "counts"), [(2, {1, 2, 3, 4}), (10, {6})])
def test_outliers_are_looked_for_among_at_most_twice_as_many_ranks_as_outputs(classes, counts, monkeypatch):
    values = np.r_[[9.0, 8, 7, 6, 5, 4], np.linspace(0.1, 0.05, columns.TOP - 6)]  # the widest gap is after six
    record = records.Record({"eigenvalues": np.stack([values, values])}, {"seeds": [0, 1]})
    item = runs.Stored(Path("a.safetensors"), grids.laptop(n_classes=classes), record, record)
    monkeypatch.setattr(runs, "read", lambda grid: [item])
    leading, table = spectra.by_size("laptop")
    np.testing.assert_array_equal(leading[4, 6]["eigenvalues"], np.stack([values, values])[:, : columns.LEADING])
    assert set(table.outliers) <= counts
    assert table[["n_patches", "depth", "classes", "seed", "lambda_max"]].to_numpy().tolist() == [
        [4, 6, classes, 0, 9],
        [4, 6, classes, 1, 9],
    ]
