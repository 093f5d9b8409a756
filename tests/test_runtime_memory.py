"""Releasing compiled programs."""

import functools

import jax
import jax.numpy as jnp

from patchscape import runtime


def counted():
    """A compiled function, and a list that grows with every trace of it."""
    traces = []

    def f(x):
        traces.append(x)
        return x + 1

    return jax.jit(f), traces


def test_a_released_program_is_compiled_again_and_others_are_kept():
    (f, of_f), (g, of_g) = counted(), counted()
    for _ in range(2):
        f(jnp.ones(3)), g(jnp.ones(3))
    assert len(of_f) == len(of_g) == 1
    runtime.release(f)
    assert f(jnp.ones(3)).tolist() == g(jnp.ones(3)).tolist() == [2, 2, 2]
    assert (len(of_f), len(of_g)) == (2, 1)


def test_a_finished_program_is_kept_until_the_process_asks_to_save_memory(monkeypatch):
    asked = functools.cache(lambda: None)
    monkeypatch.setattr(runtime, "save_memory", asked)
    (f, of_f), (g, of_g) = counted(), counted()
    for expected in (1, 2):
        f(jnp.ones(3)), g(jnp.ones(3))
        runtime.finished(f)
        assert (len(of_f), len(of_g)) == (expected, 1)
        asked()
        runtime.finished(f)


def test_without_names_every_program_is_released():
    f, of_f = counted()
    f(jnp.ones(3))
    runtime.release()
    f(jnp.ones(3))
    assert len(of_f) == 2
