"""Stored pictures of the loss around minima."""

from pathlib import Path

import numpy as np

from patchscape.config import RunConfig
from patchscape.store import files, records


def read(folder: str | Path | None = None) -> dict[tuple[int, int], records.Record]:
    """Reads all stored landscapes.

    Args:
        folder: where to look; default is data/results/landscapes.

    Returns:
        (n_patches, depth) -> record, sorted; arrays have a leading axis of seeds, as `meta["seeds"]` names them.
    """
    where = files.folder_of("landscapes") if folder is None else Path(folder)
    found = [records.read(file) for file in sorted(where.glob("*.safetensors"))]
    sizes = [RunConfig(**record.meta["run"]).model for record in found]
    pairs = (((cfg.n_patches, cfg.depth), record) for cfg, record in zip(sizes, found, strict=True))
    return dict(sorted(pairs, key=lambda pair: pair[0]))


def step_lengths(record: records.Record) -> np.ndarray:
    """Lengths of the steps that the circuits' angles took in each epoch, from the stored coordinates.

    Args:
        record: as from `read`.

    Returns:
        (S, E) in rad, one row per stored seed; 0 where the learning rate is zero.
    """
    inside = np.square(np.diff(record.arrays["coordinates"].astype(float), axis=1)).sum(-1)
    share = 1 - record.arrays["step_outside"].astype(float)
    return np.sqrt(np.divide(inside, share, out=np.zeros_like(inside), where=share > 0))
