"""The grids of the study: which configurations are run, with which seeds, and what is measured at their minima.

A job is one configuration with all its seeds. A configuration appears once: grids that vary one thing around the
`laptop` grid do not repeat its runs, and the tables find them by their configuration.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal, NamedTuple

from patchscape import config
from patchscape.config import ModelConfig, RunConfig, TrainConfig

Level = Literal["full", "core", "ends", "top", "leading"]
LARGE = ("top", "leading")  # models that are too large for a dense matrix


class Job(NamedTuple):
    """One configuration with all its seeds.

    Attributes:
        run: the configuration; its seed is the first one.
        seeds: one training run each.
        level: what is measured at the minima. "full": everything, also after refinement; "core": both ends of the
            spectrum and the Gauss-Newton part; "ends": both ends of the spectrum only; "top": the largest eigenvalue
            and the gradient, by products; "leading": both ends of the spectrum and its density, by products.
        studies: names of the questions that this job helps to answer.
        keep_path: whether the run file keeps phi after every epoch, and the parameters after the last.
    """

    run: RunConfig
    seeds: tuple[int, ...]
    level: Level
    studies: tuple[str, ...]
    keep_path: bool = False

    @property
    def name(self) -> str:
        """File stem of the job's results."""
        return self.run.name(self.seeds)


SEEDS = tuple(range(10))  # ours
PATCHES, DEPTHS = (4, 9, 16), (2, 6, 18)  # ours: (4, 18), (9, 6) and (16, 2) have nearly equal numbers of angles
RATES = (5e-3, 1e-2, 4e-2)  # ours: crossed with the depth, around the laptop grid's rate
LAPTOP = TrainConfig(learning_rate=2e-2, epochs=30, batch_size=60)  # ours: the paper's protocol, scaled down


def laptop(
    n: int = 4, depth: int = 6, *, train: TrainConfig = LAPTOP, data_classes: int | None = None, **model: object
) -> RunConfig:
    """Returns a run of the laptop grid's size: 300 training and 1000 test images of MNIST, 8 qubits.

    Args:
        n: number of patches.
        depth: layers per block.
        train: the protocol.
        data_classes: images of the first classes only; None: as many as the model has outputs.
        **model: other fields of `ModelConfig`.

    Returns:
        The configuration, with the first seed.
    """
    cfg = ModelConfig(n_patches=n, depth=depth, **model)
    return RunConfig(model=cfg, train=train, data_classes=data_classes, n_train=300, n_test=1000, seed=SEEDS[0])


def _laptop() -> Iterator[Job]:
    for n, depth in product((1, *PATCHES), DEPTHS):
        yield Job(laptop(n, depth), SEEDS, "full", ("patches and depth",))


def _controls() -> Iterator[Job]:
    def jobs(study: str, *runs: RunConfig) -> Iterator[Job]:
        return (Job(run, SEEDS, "core", (study,)) for run in runs)

    def with_rate(rate: float) -> TrainConfig:
        return LAPTOP.model_copy(update={"learning_rate": rate})

    yield from jobs("learning rate", *(laptop(4, d, train=with_rate(r)) for d, r in product(DEPTHS, RATES)))
    yield from jobs("sum", *(laptop(n, aggregation="sum") for n in PATCHES))
    yield from jobs("scale", *(laptop(n, scale=25.0 * n) for n in PATCHES[1:]))  # at n = 4 the paper's c = 100
    yield from jobs("no bias", *(laptop(n, shared_bias=False) for n in PATCHES))
    yield from jobs("classes", *(laptop(n_classes=c) for c in (2, 4, 6, 8)))
    yield from jobs("classes of images", *(laptop(data_classes=c) for c in (2, 4, 6, 8)))
    yield from jobs("stride", *(laptop(stride=s) for s in (0, 2, 4)))  # at 6 the paper's spread
    # ours: one n is enough, as nothing changes there
    yield from jobs("no weight decay", laptop(train=LAPTOP.model_copy(update={"weight_decay": 0.0})))


def _paper() -> Iterator[Job]:
    points = [(n, depth) for n in config.PAPER_PATCHES for depth in config.PAPER_LEARNING_RATES]
    for n, depth in points:
        run = config.paper(n, depth)
        yield Job(run, (run.seed,), "leading" if n == 4 or depth == 50 else "top", ("replay",))
    # ours: the smallest models first, as each point takes hours; four seeds, then five more
    for seeds, (depth, n) in product((range(1, 5), range(5, 10)), sorted((d, n) for n, d in points)):
        first = config.PAPER_SEED + seeds[0]
        yield Job(config.paper(n, depth, seed=first), tuple(range(first, first + len(seeds))), "top", ("seeds",))


def _datasets() -> Iterator[Job]:
    for n in (1, 4, 9):
        yield Job(config.digits(n), SEEDS, "full", ("digits",))
    for n in PATCHES:
        yield Job(laptop(n).model_copy(update={"dataset": "fashion_mnist"}), SEEDS, "core", ("fashion",))


def _chapters() -> Iterator[Job]:
    """What the chapters train with the values of their parameters cells, if that takes longer than a reader waits."""
    seeds = (0, 1, 2)
    for n, depth in ((4, 2), (1, 4), (4, 4), (9, 4)):
        run = config.digits(n, depth, epochs=16).model_copy(update={"n_train": 500})
        yield Job(run, seeds, "ends", ("04_hessian",))
    for n in (4, 9):
        yield Job(config.digits(n, 4, epochs=26), seeds, "ends", ("06_landscape",), keep_path=True)


def _smoke() -> Iterator[Job]:
    for n in (1, 4):
        run = config.digits(n, depth=1, epochs=2)
        run = run.model_copy(update={"n_train": 200, "n_test": 50})
        yield Job(run, (0, 1), "full", ("smoke",))


_STUDY = {"laptop": _laptop, "controls": _controls, "paper": _paper, "datasets": _datasets}
_GRIDS = _STUDY | {"chapters": _chapters, "smoke": _smoke}


def jobs(grid: str) -> dict[str, Job]:
    """Returns every job of a grid by its name.

    Args:
        grid: laptop, controls, paper, datasets, chapters, or smoke (a minute or two, for trying out).

    Returns:
        The jobs in the order in which they are best run.

    Raises:
        ValueError: if there is no such grid.
    """
    if grid not in _GRIDS:
        raise ValueError(f"no grid '{grid}': choose one of {', '.join(_GRIDS)}.")
    return {job.name: job for job in _GRIDS[grid]()}


def job(grid: str, name: str) -> Job:
    """Returns one job of a grid.

    Args:
        grid: as for `jobs`.
        name: of the job.

    Returns:
        The job.

    Raises:
        ValueError: if there is no such grid or no such job.
    """
    known = jobs(grid)
    if name not in known:
        raise ValueError(f"no job '{name}' in grid '{grid}': `patchscape grid {grid}` lists them.")
    return known[name]


def names() -> tuple[str, ...]:
    """Returns the names of all grids."""
    return tuple(_GRIDS)


def study() -> tuple[str, ...]:
    """Returns the names of the grids whose runs are the study: not `chapters`, what a few chapters would train live."""
    return tuple(_STUDY)


def stored() -> tuple[str, ...]:
    """Returns the names of the grids that the book reads: all but `smoke`, which is there to try things out."""
    return tuple(name for name in _GRIDS if name != "smoke")
