"""Files beside those of a grid: one for each job, with one entry for each seed that was looked at."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from patchscape.store import columns, files, records
from patchscape.store.grids import Job
from patchscape.study import jobs

Columns = dict[str, np.ndarray]


def extend(
    kind: columns.Kind,
    job: Job,
    run_folder: str | Path,
    out: str | Path,
    seeds: Sequence[int] | None,
    prepare: Callable[[records.Record], Callable[[int], Columns]],
    *,
    progress: bool = False,
    **settings: Any,
) -> Path:
    """Adds what is missing to the file of a job; seeds that are stored are left alone. Two calls take turns.

    Args:
        kind: of file.
        job: the job.
        run_folder: where its run file is.
        out: folder of the files.
        seeds: which seeds; None is all of them.
        prepare: called if a seed is missing. Run file -> a function of the position of a seed, which gives its arrays.
        progress: show a progress bar.
        settings: plain JSON data that all entries of a file share.

    Returns:
        The file, rewritten whole after every seed; arrays have a leading axis of seeds, as `meta["seeds"]` names them.

    Raises:
        ValueError: if the job has not been trained or has no such seed, or the file is damaged, of another run file or
            of other settings.
    """
    run_file, _ = files.paths(job, run_folder)
    if not run_file.exists():
        raise ValueError(f"{run_file} is missing: train the job first (`patchscape job GRID {job.name} train`).")
    record, target = records.read(run_file), Path(out) / run_file.name
    if target.exists() and target.samefile(run_file):
        raise ValueError(f"{out} is the folder of the run files: choose another one.")
    known = record.meta["seeds"]
    seeds = known if seeds is None else seeds
    if unknown := [seed for seed in seeds if seed not in known]:
        raise ValueError(f"seed={unknown[0]}: the run file has seeds {known}.")
    identity = settings | {"run_file": records.checksum(record.arrays, record.meta)}
    with jobs.alone(target):
        arrays: Columns = {}
        done, wall, of_seed = [], 0.0, None
        if target.exists():
            arrays, meta = records.read(target)
            if {name: meta.get(name) for name in identity} != identity:
                other = "".join(f", or has another number of {name}" for name in settings)
                raise ValueError(f"{target} belongs to another run file{other}: delete it and make it anew.")
            done, wall = meta["seeds"], meta["wall_s"]
        missing = [seed for seed in dict.fromkeys(seeds) if seed not in done]
        for seed in tqdm(missing, disable=not progress, unit="seed", desc=job.name):
            start = time.perf_counter()
            of_seed = of_seed or prepare(record)
            found = of_seed(known.index(seed))
            wall, done = wall + time.perf_counter() - start, [*done, seed]
            arrays = {k: np.concatenate([*([arrays[k]] if k in arrays else []), v[None]]) for k, v in found.items()}
            meta = {"run": job.run.model_dump(mode="json"), "seeds": done, "wall_s": wall}
            files.write(kind, target, arrays, meta | identity | {"provenance": records.provenance()})
    return target
