"""PennyLane's lightning.qubit driven from Python, image by image (it does not broadcast gradients)."""

import numpy as np

from contestants import Contestant
from patchscape.circuit.ansatz import qnode
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """Adjoint differentiation; most of the time passes in Python (compare `catalyst`)."""
    import pennylane as qml
    from pennylane import numpy as pnp

    node = qnode(cfg, device="lightning.qubit", diff_method="adjoint")

    def forward(phi, patches):
        return np.stack([np.stack(node(phi, patch)) for patch in patches])

    def gradient(phi, patches, weights):
        phi = pnp.array(phi, requires_grad=True)
        total = 0
        for patch, weight in zip(patches, weights, strict=True):
            patch = pnp.array(patch, requires_grad=False)
            cost = lambda p, patch=patch, weight=weight: pnp.sum(weight * pnp.stack(node(p, patch)))  # noqa: E731
            total = total + qml.grad(cost)(phi)
        return total

    return Contestant(forward, gradient, None, ("pennylane", "pennylane_lightning"))
