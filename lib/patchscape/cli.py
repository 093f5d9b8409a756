"""Command line: train, curvature, grid, job, landscape, results, verify, figures, explorer."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

RunFile = Annotated[Path, typer.Argument(help="run file (.safetensors) that `patchscape train` has written")]


@app.callback()
def _main() -> None:
    """Executable companion of arXiv:2504.19239."""
    from patchscape import runtime

    runtime.keep_programs()


@app.command()
def train(
    n_patches: Annotated[int, typer.Option(help="number of circuits: 4, 9 or 16")] = 4,
    depth: Annotated[int, typer.Option(help="layers per block; with --preset paper 50, 100, 150 or 200")] = 50,
    preset: Annotated[str, typer.Option(help="paper (MNIST, 8 qubits) or digits (6 qubits)")] = "paper",
    seed: Annotated[list[int] | None, typer.Option(help="seed of a run; repeat for several at once")] = None,
    epochs: Annotated[int | None, typer.Option(help="epochs, if other than the preset's")] = None,
    trajectory: Annotated[bool, typer.Option(help="also store phi after every epoch")] = False,
    out: Annotated[Path, typer.Option(help="folder of run files")] = Path("data/results"),
) -> None:
    """Train one configuration and store all its seeds in one run file; a stopped run continues where it was."""
    from patchscape import checkpoints, config, data, training

    with _one_sentence():
        presets = {"paper": config.paper, "digits": config.digits}
        if preset not in presets:
            raise ValueError(f"no preset '{preset}': choose one of {', '.join(presets)}.")
        run = presets[preset](n_patches, depth)
        if epochs is not None:
            run = run.model_copy(update={"train": run.train.model_copy(update={"epochs": epochs})})
        seeds = seed or [run.seed]
        run = config.RunConfig(**{**run.model_dump(), "seed": seeds[0]})
        path = out / f"{run.name(seeds)}.safetensors"
        checkpoint = out / "unfinished" / path.name
        trained = training.train(
            run, data.load_run(run), seeds=seeds, checkpoint=checkpoint, keep_trajectory=trajectory, progress=True
        )
        training.store(path, run, trained)
        checkpoints.remove(checkpoint)
        typer.echo(path)
        for number, one in enumerate(seeds):
            typer.echo(f"seed {one}: minimum at epoch {trained.minimum_epoch[number]}, {_summary(trained, number)}")


def _summary(trained, number: int) -> str:
    epoch = trained.minimum_epoch[number]
    if epoch < 0:
        return "no epoch was run"
    return (
        f"train loss {trained.train_loss[number, epoch]:.6f}, "
        f"test accuracy {trained.test_accuracy[number, epoch]:.4f}, {trained.wall_s:.0f} s"
    )


@app.command()
def curvature(
    file: RunFile,
    k: Annotated[int, typer.Option(help="number of eigenvalues")] = 1,
    number: Annotated[int, typer.Option(help="position of the seed in the run file, from 0")] = 0,
    tol: Annotated[float, typer.Option(help="residual relative to the largest eigenvalue")] = 1e-3,
    chunk: Annotated[int, typer.Option(help="images per chunk; sets the memory")] = 500,
) -> None:
    """Print the largest Hessian eigenvalues over all training images at a stored minimum."""
    import time

    from patchscape import jobs

    with _one_sentence():
        start = time.perf_counter()
        found = jobs.eigenpairs(file, number, k, tol=tol, chunk=chunk)
        wall = time.perf_counter() - start
        for value, residual in zip(found.values, found.residuals, strict=True):
            typer.echo(f"{value:.6f}  residual {residual:.2e}")
        state = "converged" if found.converged else "NOT converged"
        typer.echo(f"{state} after {found.n_matvecs} products in {wall:.0f} s")


GridName = Annotated[str, typer.Argument(help="laptop, controls, paper, datasets, or smoke (seconds, to try out)")]
Folder = Annotated[Path | None, typer.Option("--folder", help="folder of result files; default data/results/GRID")]


@app.command()
def grid(
    name: GridName,
    folder: Folder = None,
    names: Annotated[bool, typer.Option("--names", help="print the names of the jobs only")] = False,
) -> None:
    """List the jobs of a grid and how far each is: missing, started, trained, done, or why its file is refused."""
    from patchscape import data, grids, jobs

    with _one_sentence():
        for job in grids.jobs(name).values():
            where = folder or data.folder() / "results" / name
            typer.echo(job.name if names else f"{job.name}  {jobs.state(job, where)}")


@app.command()
def job(
    grid: GridName,
    name: Annotated[str, typer.Argument(help="name of the job, as `patchscape grid GRID` prints it")],
    part: Annotated[
        str, typer.Argument(help="train, curvature, all, or complete: add what older code left out")
    ] = "all",
    folder: Folder = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="put an existing or damaged result aside and start anew")
    ] = False,
) -> None:
    """Run one job of a grid; killed at any moment, it continues when it is run again."""
    from patchscape import data, grids, jobs

    with _one_sentence():
        known = grids.jobs(grid)
        if name not in known:
            raise ValueError(f"no job '{name}' in grid '{grid}': `patchscape grid {grid}` lists them.")
        if part not in {"train", "curvature", "all", "complete"}:
            raise ValueError(f"part '{part}': choose train, curvature, all or complete.")
        where = folder or data.folder() / "results" / grid
        if part in {"train", "all"}:
            typer.echo(jobs.train(known[name], where, progress=True, redo=redo))
        if part in {"curvature", "all"}:
            typer.echo(jobs.measure(known[name], where, redo=redo))
        if part == "complete":
            typer.echo(jobs.complete(known[name], where))


@app.command()
def landscape(
    grid: GridName,
    name: Annotated[str, typer.Argument(help="name of the job, as `patchscape grid GRID` prints it")],
    seed: Annotated[list[int] | None, typer.Option(help="seed to look at; repeat for several; default 0")] = None,
    folder: Folder = None,
    out: Annotated[Path | None, typer.Option(help="where to store; default data/results/landscapes")] = None,
) -> None:
    """Store planes and lines through the minima of a trained job; the seeds are trained again for their paths."""
    from patchscape import data, grids, views

    with _one_sentence():
        known = grids.jobs(grid)
        if name not in known:
            raise ValueError(f"no job '{name}' in grid '{grid}': `patchscape grid {grid}` lists them.")
        stored = data.folder() / "results"
        typer.echo(views.make(known[name], folder or stored / grid, out or stored / "landscapes", seed or [0]))


@app.command("results")
def list_results(
    grid: Annotated[list[str] | None, typer.Option(help="grid to list; repeat for several; default all")] = None,
    where: Annotated[str | None, typer.Option(help="rows to keep, for example 'n_patches == 4 and depth > 2'")] = None,
    columns: Annotated[str | None, typer.Option(help="columns to print, separated by commas")] = None,
    out: Annotated[Path | None, typer.Option(help="write all columns to this .csv or .parquet file")] = None,
) -> None:
    """List the stored runs, one row per seed, diverged ones too; filter them; export the table."""
    import pandas as pd

    from patchscape import results, stored

    with _one_sentence():
        table = stored.runs(grid)
        if where is not None:
            try:
                table = table.query(where)
            except Exception as error:  # pandas raises whatever its parser meets
                raise ValueError(
                    f"where={where!r} does not select rows ({error}): name columns of the table."
                ) from error
        shown = _COLUMNS if columns is None else [name.strip() for name in columns.split(",")]
        missing = [name for name in shown if name not in table]
        if missing and len(table):
            raise ValueError(f"no column '{missing[0]}': choose from {', '.join(table.columns)}.")
        if out is None:
            with pd.option_context("display.max_rows", None, "display.width", None):
                typer.echo(table.reindex(columns=shown).to_string(index=False) if len(table) else "no stored run")
        elif out.suffix == ".csv":
            results.write_bytes(out, table.to_csv(index=False).encode())
        elif out.suffix == ".parquet":
            results.write_bytes(out, table.to_parquet(index=False))
        else:
            raise ValueError(f"out={out}: choose a file that ends in .csv or .parquet.")


_COLUMNS = ["grid", "n_patches", "depth", "learning_rate", "seed", "epoch", "train_loss", "test_accuracy", "lambda_max"]


@app.command()
def verify(
    files: Annotated[list[Path] | None, typer.Argument(help="run files; default every stored one")] = None,
    sample: Annotated[int | None, typer.Option(help="check so many minima, drawn at random; default every one")] = None,
    seed: Annotated[int, typer.Option(help="of the draw")] = 0,
) -> None:
    """Recompute loss and largest eigenvalue of stored minima and compare; exit status 1 if any differs."""
    import random

    from patchscape import data, grids, jobs, results

    with _one_sentence():
        found = files or [
            path
            for grid in grids.names()
            for path in sorted((data.folder() / "results" / grid).glob("*.safetensors"))
            if jobs.beside(path).exists()
        ]
        minima = [(path, i) for path in found for i in range(len(results.read(path).meta["seeds"]))]
        if sample is not None:
            minima = random.Random(seed).sample(minima, min(sample, len(minima)))
        bad, largest = 0, {"train_loss": 0.0, "lambda_max": 0.0}
        for path, number in minima:
            again = jobs.verify(path, number)
            largest = {name: max(value, again[f"{name}_difference"]) for name, value in largest.items()}
            good = again["train_loss_difference"] <= jobs.SAME_LOSS and again["lambda_max_difference"] <= jobs.SAME_TOP
            bad += not good
            typer.echo(
                f"{'same' if good else 'DIFFERS'}  {path.stem} number {number}: "
                f"loss {again['train_loss']:.6g}, again {again['train_loss_again']:.6g}; "
                f"lambda_max {again['lambda_max']:.5g}, again {again['lambda_max_again']:.5g}"
            )
        if bad:
            raise ValueError(f"{bad} of {len(minima)} stored minima differ from what is computed now.")
        typer.echo(
            f"{len(minima)} minima agree, loss to {largest['train_loss']:.0e} and lambda_max to "
            f"{largest['lambda_max']:.0e} (largest relative differences)"
        )


@app.command()
def figures(
    params: Annotated[Path, typer.Option(help="YAML file of chapter parameters")] = Path("params/quick.yaml"),
    out: Annotated[Path, typer.Option(help="folder for PNG, SVG and JSON files")] = Path("out/figures"),
) -> None:
    """Re-execute all chapters and write every figure."""
    from patchscape import chapters

    with _one_sentence():
        for path in chapters.make_figures(params, out):
            typer.echo(str(path))


@app.command()
def explorer(
    out: Annotated[Path, typer.Option(help="the HTML file to write")] = Path("out/explorer.html"),
) -> None:
    """Write the explorer of stored runs as one HTML file that needs no network and no server."""
    from patchscape import explorer, results

    with _one_sentence():
        results.write_bytes(out, explorer.page(explorer.collect()).encode())
        typer.echo(f"{out}  {out.stat().st_size / 1e6:.1f} MB")


class _one_sentence:
    """Turns an expected error into one sentence on stderr and exit status 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, ValueError | OSError):  # a full disk and a forbidden folder are OSErrors
            typer.echo(f"patchscape: {error}", err=True)
            raise typer.Exit(1) from error
