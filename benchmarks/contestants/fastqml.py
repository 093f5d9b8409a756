"""fastQML by somebody who has the idea: layers fused, blocks composed to one matrix each (`apply_dense`)."""

import torch

from contestants import Contestant
from contestants.torch_common import contestant
from patchscape.circuit.ansatz import ENCODING_AXES, observables
from patchscape.circuit.blocks import ring_signs
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """All images at once, real and imaginary parts apart, as the library has them."""
    from fastqml import gate_fusion, register_ops

    q, d = cfg.n_qubits, cfg.depth
    ring = torch.tensor(ring_signs(q), dtype=torch.float32)
    block, encoding = 2 * d * q, q * q
    of_axis = {"X": gate_fusion.build_rx_gates, "Y": gate_fusion.build_ry_gates}

    def multiply(left, right):
        (a, b), (c, e) = left, right
        return a @ c - b @ e, a @ e + b @ c

    def layers(angles, states):  # rows are states
        for first, second in angles:
            gates = multiply(of_axis["Y"](second), of_axis["X"](first))
            states = tuple(s * ring for s in gate_fusion.apply_su2_layer(*states, *gates))
        return states

    def expectations(phi, patches):
        parts = torch.split(phi, [block, encoding, block, encoding, block])
        angles = [part.reshape(d, 2, q) for part in parts[0::2]]
        encodings = [part.reshape(q, q // 2, 2) for part in parts[1::2]]
        pixels = patches.reshape(-1, 2, q, q // 2)
        identity = torch.eye(2**q)
        states = layers(angles[0], (identity[:1], torch.zeros(1, 2**q)))
        states = tuple(s.expand(len(patches), -1).reshape(-1, *(2,) * q) for s in states)
        for stage in range(2):
            gates = None
            for j in range(q // 2):
                around = encodings[stage][:, j]
                values = around[:, 0], pixels[:, stage, :, j], around[:, 1]
                for axis, angle in zip(ENCODING_AXES[j % 2], values, strict=True):
                    step = of_axis[axis](angle)
                    gates = step if gates is None else multiply(step, gates)
            states = gate_fusion.apply_per_batch_su2_chain(*states, *gates)
            rows = layers(angles[1 + stage], (identity, torch.zeros_like(identity)))
            states = tuple(s.reshape(len(patches), -1) * ring for s in states)
            states = register_ops.apply_dense(*states, *(part.T for part in rows))
            states = tuple(s.reshape(-1, *(2,) * q) for s in states)
        # the ring after the last layer changes no probability, but the overlaps of the X's
        re, im = (s.reshape(len(patches), -1) * ring for s in states)
        found = []
        for axis, wire in observables(cfg):
            (r0, r1), (i0, i1) = (s.reshape(-1, 2**wire, 2, 2 ** (q - 1 - wire)).unbind(2) for s in (re, im))
            value = 2 * (r0 * r1 + i0 * i1) if axis == "X" else r0**2 + i0**2 - r1**2 - i1**2
            found.append(value.sum((1, 2)))
        return torch.stack(found, 1)

    return contestant(expectations, ("fastqml", "torch"))._replace(product=None)
