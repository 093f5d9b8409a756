"""What several test files share: the project's folder, and a job that takes seconds."""

from pathlib import Path

from patchscape.config import ModelConfig, RunConfig, TrainConfig
from patchscape.store import grids

ROOT = Path(__file__).resolve().parents[1]
RUN = RunConfig(
    model=ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=4),
    train=TrainConfig(learning_rate=2e-2, epochs=3, batch_size=30),
    dataset="digits",
    n_train=60,
    n_test=20,
    seed=0,
)
JOB = grids.Job(RUN, (0, 1), "core", ("test",))
