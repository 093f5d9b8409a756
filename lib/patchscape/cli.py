"""Command line: `patchscape train`, `patchscape curvature`, `patchscape figures`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

RunFile = Annotated[Path, typer.Argument(help="run file (.safetensors) that `patchscape train` has written")]


@app.callback()
def _main() -> None:
    """Executable companion of arXiv:2504.19239."""


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
    """Train one configuration and store one run file per seed; a stopped run continues where it was."""
    from patchscape import config, data, training

    with _one_sentence():
        presets = {"paper": config.paper, "digits": config.digits}
        if preset not in presets:
            raise ValueError(f"no preset '{preset}': choose one of {', '.join(presets)}.")
        run = presets[preset](n_patches, depth)
        if epochs is not None:
            run = run.model_copy(update={"train": run.train.model_copy(update={"epochs": epochs})})
        seeds = seed or [run.seed]
        runs = [config.RunConfig(**{**run.model_dump(), "seed": s}) for s in seeds]
        images = data.load_run(run)
        checkpoint = out / "unfinished" / f"{runs[0].name()}-x{len(seeds)}.safetensors"
        trained = training.train(
            run, images, seeds=seeds, checkpoint=checkpoint, keep_trajectory=trajectory, progress=True
        )
        for number, one in enumerate(runs):
            path = out / f"{one.name()}.safetensors"
            training.store(path, one, trained, number)
            typer.echo(f"{path}  minimum at epoch {trained.minimum_epoch[number]}, {_summary(trained, number)}")
        checkpoint.unlink()


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
    tol: Annotated[float, typer.Option(help="residual relative to the largest eigenvalue")] = 1e-3,
    chunk: Annotated[int, typer.Option(help="images per chunk; sets the memory")] = 500,
    store: Annotated[bool, typer.Option("--store", help="also write <run file>-curvature.safetensors")] = False,
) -> None:
    """Print the largest Hessian eigenvalues over all training images at a stored minimum."""
    import time

    import numpy as np
    from jax.flatten_util import ravel_pytree

    from patchscape import config, data, experiments, results
    from patchscape import curvature as curv

    with _one_sentence():
        record = results.read(file)
        run = config.RunConfig(**record.meta["run"])
        images = data.load_run(run)
        names = ("phi", "bias")[: 1 + run.model.shared_bias]
        point, _ = ravel_pytree({name: record.arrays[f"minimum/{name}"] for name in names})
        loss = experiments.FullDataLoss(run.model, images.train_angles, images.train_labels, chunk)
        start = time.perf_counter()
        product, gradient = loss.at(point)
        found = curv.eigenpairs(product, loss.size, k, seed=0, tol=tol)
        wall = time.perf_counter() - start
        for value, residual in zip(found.values, found.residuals, strict=True):
            typer.echo(f"{value:.6f}  residual {residual:.2e}")
        state = "converged" if found.converged else "NOT converged"
        typer.echo(f"{state} after {found.n_matvecs} products in {wall:.0f} s")
        if store:
            meta = {
                "run": run.model_dump(mode="json"),
                "run_file": results.checksum(record.arrays, record.meta),
                "converged": found.converged,
                "n_matvecs": found.n_matvecs,
                "tol": tol,
                "gradient_norm": float(np.linalg.norm(gradient)),
                "wall_s": wall,
                "provenance": results.provenance(),
            }
            arrays = {"values": found.values, "residuals": found.residuals}
            results.write(file.with_name(f"{file.stem}-curvature.safetensors"), arrays, meta)


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


class _one_sentence:
    """Turns an expected error into one sentence on stderr and exit status 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, ValueError | FileNotFoundError):
            typer.echo(f"patchscape: {error}", err=True)
            raise typer.Exit(1) from error
