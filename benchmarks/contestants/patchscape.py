"""This project."""

from contestants import Contestant, jax_common
from patchscape.circuit import simulator
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """Block unitaries, real, with derivatives of their own."""
    return jax_common.contestant(lambda phi, patches: simulator.expectations(cfg, simulator.prepare(cfg, phi), patches))
