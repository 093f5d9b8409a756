"""Command line of patchscape. Anything wrong ends in one sentence and exit status 1."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from typer.core import TyperGroup


class _OneSentence(TyperGroup):
    """Commands whose expected errors, wrong options included, end in one sentence on stderr and exit status 1."""

    def main(self, *arguments: Any, **options: Any) -> None:
        try:
            status = super().main(*arguments, **options | {"standalone_mode": False})
        except typer.TyperException as error:
            sentence = error.format_message().replace("Value error, ", "")  # empty where help was printed
        except OSError as error:  # a full disk and a forbidden folder
            sentence = f"{error.filename}: {error.strerror}." if error.filename and error.strerror else str(error)
        except ModuleNotFoundError as error:
            sentence = f"the package {error.name} is not installed: install what requirements.lock names."
        except ValueError as error:
            sentence = str(error)
        else:
            sys.exit(status or 0)
        if sentence:
            typer.echo(f"patchscape: {sentence.removesuffix('.')}.", err=True)
        sys.exit(1)


app = typer.Typer(cls=_OneSentence, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

# The names of the grids are written out, because reading them takes a second that `--help` need not take.
Grid = Literal["laptop", "controls", "paper", "datasets", "chapters", "smoke"]
GridName = Annotated[Grid, typer.Argument(help="which grid; smoke takes a minute or two, to try out")]
JobName = Annotated[str, typer.Argument(help="name of the job, as `patchscape grid GRID` prints it")]
RunFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="run file (.safetensors) of `patchscape train` or of a grid")
]
Folder = Annotated[
    Path | None, typer.Option("--folder", file_okay=False, help="folder of result files; default data/results/GRID")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", min=0, max=2**32 - 1, help="seed of a run; repeat for several at once")
]


@app.callback()
def _main() -> None:
    """Executable companion of arXiv:2504.19239. Anything wrong ends in one sentence and exit status 1."""
    from patchscape import runtime

    runtime.keep_programs()


@app.command()
def train(
    n_patches: Annotated[
        int, typer.Option(min=1, help="number of circuits: 4, 9 or 16; 1, 4 or 9 with --preset digits")
    ] = 4,
    depth: Annotated[int, typer.Option(min=1, help="layers per block; with --preset paper 50, 100, 150 or 200")] = 50,
    preset: Annotated[Literal["paper", "digits"], typer.Option(help="MNIST, 8 qubits, or digits, 6 qubits")] = "paper",
    seed: Seeds = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="epochs, if other than the preset's")] = None,
    trajectory: Annotated[bool, typer.Option(help="also store phi after every epoch")] = False,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder of your run files")] = Path("runs"),
) -> None:
    """Train one configuration and store all its seeds in one run file; a stopped run continues where it was.

    The commands results, verify, measure and curvature find the file in the folder `runs` of the present folder.
    """
    from patchscape import config
    from patchscape.study import jobs

    run = {"paper": config.paper, "digits": config.digits}[preset](n_patches, depth)
    if epochs is not None:
        run = run.model_copy(update={"train": run.train.model_copy(update={"epochs": epochs})})
    seeds = seed or [run.seed]
    run = config.RunConfig(**{**run.model_dump(), "seed": seeds[0]})
    _need_device()
    _need_folder(out)
    _say(f"training {run.name(seeds)}: it compiles first, then counts epochs")
    path, trained = jobs.train_own(run, seeds, out, trajectory=trajectory, progress=True)
    typer.echo(path)
    for number, one in enumerate(seeds):
        epoch = trained.minimum_epoch[number]
        if epoch < 0:
            typer.echo(f"seed {one}: diverged in the first epoch")
        else:
            typer.echo(
                f"seed {one}: minimum at epoch {epoch}, train loss {trained.train_loss[number, epoch]:.6f}, "
                f"test accuracy {trained.test_accuracy[number, epoch]:.4f}, {trained.wall_s:.0f} s"
            )


@app.command()
def curvature(
    file: RunFile,
    k: Annotated[int, typer.Option(min=1, help="number of eigenvalues")] = 1,
    number: Annotated[int, typer.Option(min=0, help="position of the seed in the run file, from 0")] = 0,
    tol: Annotated[float, typer.Option(help="residual relative to the largest eigenvalue, between 0 and 1")] = 1e-3,
    chunk: Annotated[int, typer.Option(min=1, help="images per chunk; sets the memory")] = 500,
) -> None:
    """Print the largest Hessian eigenvalues over all training images at a stored minimum."""
    import time

    from patchscape.store import files
    from patchscape.study import jobs

    if not 0 < tol < 1:
        raise ValueError(f"tol={tol}: choose a number between 0 and 1.")
    run, record = files.read_run(file)
    if k > run.model.n_params:
        raise ValueError(f"k={k}: choose at most {run.model.n_params}, the number of parameters.")
    files.minimum(record, number)
    _need_device()
    _say(f"computing at the minimum of seed {record.meta['seeds'][number]} ({run.model.n_params} parameters)")
    start = time.perf_counter()
    found = jobs.eigenpairs(record, number, k, tol=tol, chunk=chunk)
    wall = time.perf_counter() - start
    for value, residual in zip(found.values, found.residuals, strict=True):
        typer.echo(f"{value:.6f}  residual {residual:.2e}")
    state = "converged" if found.converged else "NOT converged"
    typer.echo(f"{state} after {found.n_matvecs} products in {wall:.0f} s")


@app.command()
def measure(file: RunFile) -> None:
    """Store loss, largest eigenvalue and gradient at every minimum of a run file beside it, for results and verify."""
    from patchscape.store import files
    from patchscape.study import jobs

    job = files.job_of(file)
    _need_device()
    typer.echo(jobs.measure(job, file.parent, progress=True))


@app.command()
def spectrum(
    file: RunFile,
    number: Annotated[int, typer.Option(min=0, help="position of the seed in the run file, from 0")] = 0,
    images: Annotated[
        int, typer.Option(min=1, help="images, the most wrong ones, for the second derivatives")
    ] = 10_000,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="default data/results/spectra")] = None,
) -> None:
    """Store all eigenvalues of the Hessian and of its Gauss-Newton part at a minimum; hours at the paper's size."""
    from patchscape.store import files
    from patchscape.study import whole

    _, record = files.read_run(file)
    files.minimum(record, number)
    _need_device()
    out = files.folder_of("spectra") if out is None else out
    _need_folder(out)
    typer.echo(whole.make(file, out, number, wrong=images, progress=True))


@app.command()
def grid(
    name: GridName,
    folder: Folder = None,
    names: Annotated[bool, typer.Option("--names", help="print the names of the jobs only")] = False,
) -> None:
    """List the jobs of a grid and how far each is: missing, started, trained, done, or why its file is refused."""
    from patchscape.store import files, grids

    for job in grids.jobs(name).values():
        where = folder or files.folder_of(name)
        typer.echo(job.name if names else f"{job.name}  {files.state(job, where)}")


@app.command()
def job(
    grid: GridName,
    name: JobName,
    part: Annotated[
        Literal["train", "curvature", "all", "complete"], typer.Argument(help="complete: add what older code left out")
    ] = "all",
    folder: Folder = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="put an existing or damaged result aside and start anew")
    ] = False,
) -> None:
    """Run one job of a grid; killed at any moment, it continues when it is run again."""
    from patchscape.store import files, grids
    from patchscape.study import jobs

    wanted = grids.job(grid, name)
    where = folder or files.folder_of(grid)
    _need_device()
    if part in {"train", "all"}:
        _say(f"training {name}: it compiles first, then counts epochs")
        typer.echo(jobs.train(wanted, where, progress=True, redo=redo))
    if part in {"curvature", "all"}:
        typer.echo(jobs.measure(wanted, where, progress=True, redo=redo))
    if part == "complete":
        typer.echo(jobs.complete(wanted, where, progress=True))


@app.command()
def landscape(
    grid: GridName,
    name: JobName,
    seed: Seeds = None,
    folder: Folder = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="where to store; default data/results/landscapes")
    ] = None,
) -> None:
    """Store planes and lines through the minima of a trained job (default: seed 0), whose seeds are trained again."""
    from patchscape.store import files, grids
    from patchscape.study import views

    wanted = grids.job(grid, name)
    _need_device()
    out = files.folder_of("landscapes") if out is None else out
    _need_folder(out)
    _say(f"training again, then computing planes and lines of {name}")
    typer.echo(views.make(wanted, folder or files.folder_of(grid), out, seed or [0]))


@app.command()
def redraw(
    grid: GridName,
    name: JobName,
    seed: Seeds = None,
    folder: Folder = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="where to store; default data/results/redrawn")
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="at most so many training images: those that the model is least sure of")
    ] = 300,
) -> None:
    """Store what the Gauss-Newton matrix at minima of a job would be with blocks drawn anew (default: all seeds)."""
    from patchscape.store import files, grids
    from patchscape.study import redrawn

    wanted = grids.job(grid, name)
    _need_device()
    out = files.folder_of("redrawn") if out is None else out
    _need_folder(out)
    typer.echo(redrawn.make(wanted, folder or files.folder_of(grid), out, seed, images=images, progress=True))


@app.command()
def matched(
    depth: Annotated[list[int] | None, typer.Option(help="layers per block; repeat for several; default all")] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="where to store; default data/results/matched")
    ] = None,
) -> None:
    """Store the curvature of runs where they pass preset losses, which chapter 8 compares; some hours."""
    from patchscape.store import files, grids
    from patchscape.study import matched as design

    if unknown := set(depth or ()) - set(grids.DEPTHS):
        raise ValueError(f"depth={unknown.pop()}: the design has {', '.join(map(str, grids.DEPTHS))}.")
    _need_device()
    out = files.folder_of("matched") if out is None else out
    _need_folder(out)
    for run in design.runs():
        if depth is None or run.model.depth in depth:
            _say(f"training and measuring {run.name(design.SEEDS)}")
            typer.echo(design.make(run, out))


@app.command()
def beyond(
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="where to store; default data/results/beyond")
    ] = None,
) -> None:
    """Store the runs that chapter 9 reads, of circuits with noise, another ansatz and a classical layer; minutes."""
    from patchscape.live import beyond as models
    from patchscape.store import files

    _need_device()
    out = files.folder_of("beyond") if out is None else out
    _need_folder(out)
    for kind, aggregation in models.STORED:
        _say(f"training and measuring {kind}, {aggregation} over patches")
        typer.echo(models.store(kind, aggregation, out))


@app.command("results")
def list_results(
    grid: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(get_args(Grid))}, or runs (your own); repeat for several; default all of these"),
    ] = None,
    where: Annotated[str | None, typer.Option(help="rows to keep, for example 'n_patches == 4 and depth > 2'")] = None,
    columns: Annotated[str | None, typer.Option(help="columns to print, separated by commas")] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="write all columns to this .csv or .parquet file")
    ] = None,
) -> None:
    """List the stored runs and yours, one row per seed, diverged ones too; filter them; export the table."""
    import pandas as pd

    from patchscape import tables
    from patchscape.store import files, grids, records

    if out is not None and out.suffix not in {".csv", ".parquet"}:
        raise ValueError(f"out={out}: choose a file that ends in .csv or .parquet.")
    table = tables.runs.table(grid or [*grids.names(), files.OWN])
    if table.empty:
        places = ", ".join(
            map(str, map(files.folder_of, grid) if grid else (files.data_folder() / "results", files.OWN))
        )
        raise ValueError(f"no stored run in {places}.")
    if where is not None:
        table = _rows(table, where)
    shown = _COLUMNS if columns is None else [name.strip() for name in columns.split(",")]
    missing = [name for name in shown if name not in table and name not in _COLUMNS]
    if missing:
        raise ValueError(f"no column '{missing[0]}': choose from {', '.join(table.columns)}.")
    if out is None:
        with pd.option_context("display.max_rows", None, "display.width", None):
            typer.echo(table.reindex(columns=shown).to_string(index=False))
    else:
        text = table.to_csv(index=False).encode() if out.suffix == ".csv" else table.to_parquet(index=False)
        records.write_bytes(out, text)
        typer.echo(f"{out}: {len(table)} runs, {len(table.columns)} columns")


_COLUMNS = ["grid", "n_patches", "depth", "learning_rate", "seed", "epoch", "train_loss", "test_accuracy", "lambda_max"]


def _rows(table: Any, where: str) -> Any:
    """The rows of a table for which an expression in its columns is true."""
    from pandas.api.types import is_bool_dtype

    try:
        keep = table.eval(where)
    except Exception as error:  # pandas raises whatever its parser meets
        raise ValueError(f"where={where!r} does not select rows ({error}): name columns of the table.") from error
    if not is_bool_dtype(keep):
        raise ValueError(f"where={where!r} is neither true nor false of a row: compare, as in 'n_patches == 4'.")
    if not keep.any():
        raise ValueError(f"no stored run with {where}: {len(table)} are stored.")
    return table[keep]


@app.command()
def verify(
    files: Annotated[
        list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="run files; default every measured one")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="check so many minima, drawn at random; default every one")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the draw")] = 0,
) -> None:
    """Recompute loss and largest eigenvalue of stored minima and compare; exit status 1 if any differs."""
    from patchscape.study import verification

    minima = verification.minima(files, sample, seed)
    _need_device()
    bad, largest = 0, {"train_loss": 0.0, "lambda_max": 0.0}
    for done, (path, number) in enumerate(minima, 1):
        _say(f"{done} of {len(minima)}: {path.stem} number {number}")
        found = verification.verify(path, number)
        largest = {name: max(value, found.differences[name]) for name, value in largest.items()}
        bad += not found.same
        typer.echo(
            f"{'same' if found.same else 'DIFFERS'}  {path.stem} number {number}: "
            f"loss {found.stored['train_loss']:.6g}, again {found.again['train_loss']:.6g}; "
            f"lambda_max {found.stored['lambda_max']:.5g}, again {found.again['lambda_max']:.5g}"
        )
    if bad:
        raise ValueError(f"{bad} of {len(minima)} stored minima differ from what is computed now.")
    typer.echo(
        f"{len(minima)} minima agree, loss to {largest['train_loss']:.0e} and lambda_max to "
        f"{largest['lambda_max']:.0e} (largest relative differences)"
    )


@app.command()
def figures(
    chapter: Annotated[
        list[str] | None, typer.Option(help="number or name, as 3 or 04_hessian; repeat for several; default all")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="value (YAML) for the named chapters; repeatable"),
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file, as in params/, for what -p leaves open; default the book's values",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder of all that is written")] = Path("out/figures"),
) -> None:
    """Run chapters again and write their figures (PNG, SVG, data as CSV, parameters as JSON) and their pages (HTML)."""
    from patchscape.book import chapters, pages

    if parameter and not chapter:
        raise ValueError("-p needs --chapter: `patchscape figures --chapter 4 -p depth=3`.")
    known = chapters.find_chapters()
    wanted = chapters.choose(chapter or [], known)
    given = chapters.load_parameters(params, known) if params else {}
    own = chapters.read_values(parameter or [])
    plan = {name: {**given.get(name, {}), **own} for name in wanted}
    with _ticking() as tell:
        written, notebooks = chapters.make_figures(plan, known, out, tell=tell)
    for path in written:
        if path.suffix == ".png":
            typer.echo(path)
    typer.echo("beside each: the same as .svg, what it shows as .csv if it has axes, its parameters as .json")
    with _ticking() as tell:
        tell("rendering text and figures as a page")
        shown = pages.render(notebooks, out / "pages")
    for path in shown.values():
        typer.echo(path)


@app.command()
def explorer(
    out: Annotated[Path, typer.Option(dir_okay=False, help="the HTML file to write")] = Path("out/explorer.html"),
) -> None:
    """Write the explorer of stored runs as one HTML file that needs no network and no server."""
    from patchscape.book import explorer
    from patchscape.store import records

    records.write_bytes(out, explorer.page(explorer.collect()).encode())
    typer.echo(f"{out}  {out.stat().st_size / 1e6:.1f} MB")


def _need_device() -> None:
    """Finds out at once whether JAX can compute where it was told to."""
    import os

    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError, without a word, for cuda on a machine without it
        raise ValueError(
            f"JAX finds no device for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: "
            f"unset it, or install the JAX of that device."
        ) from error


def _need_folder(folder: Path) -> None:
    """Makes a folder and finds out, before any work, whether a file can be written there."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"no file can be written in {folder} ({error.strerror}): choose another folder.") from error


def _say(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def _ticking() -> Iterator[Callable[[str], None]]:
    """Gives a function that says what is being done: on a terminal in one line that counts seconds."""
    import time

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console, start = Console(stderr=True), time.monotonic()
    if not console.is_terminal:
        yield lambda line: _say(f"{time.monotonic() - start:5.0f} s  {line}")
        return
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting")
        yield lambda line: progress.reset(task, description=line)
