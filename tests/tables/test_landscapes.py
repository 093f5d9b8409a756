"""What is read off stored landscapes."""

import numpy as np

from patchscape.store import records
from patchscape.tables import landscapes


def test_a_step_is_as_long_as_its_part_inside_the_plane_says():
    steps = np.array([[[0.0, 0], [3, 4], [3, 4]]])
    record = records.Record({"coordinates": steps, "step_outside": np.array([[0.75, np.nan]])}, {})
    np.testing.assert_allclose(landscapes.step_lengths(record), [[10.0, 0.0]])
