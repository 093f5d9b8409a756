"""The switches of JAX and XLA that a chapter sets."""

import os
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache
from typer.testing import CliRunner

from patchscape import cli, runtime

CACHE = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_enable_xla_caches",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.mark.parametrize(
    ("jaxlib", "asked", "flags"),
    [
        ("0.10.9", None, "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"),
        ("0.10.9", "--xla_a=b", "--xla_a=b"),
        ("0.11.0", None, None),
    ],
)
def test_the_compiler_is_told_what_it_knows_and_no_more_than_the_reader_says(jaxlib, asked, flags, monkeypatch):
    monkeypatch.setattr(runtime, "version", {"jaxlib": jaxlib}.get)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if asked:
        monkeypatch.setenv("XLA_FLAGS", asked)
    runtime.compile_fast()
    assert os.environ.get("XLA_FLAGS") == flags


def test_memory_is_given_back_after_long_compilations_only(monkeypatch):
    listeners, trimmed = [], []
    monkeypatch.setattr("jax.monitoring.register_event_duration_secs_listener", listeners.append)
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(malloc_trim=trimmed.append))
    monkeypatch.setattr("sys.platform", "linux")
    runtime.save_memory.__wrapped__()
    (listener,) = listeners
    listener("/jax/core/compile/backend_compile_duration", 0.1)
    listener("/jax/another", 5.0)
    assert trimmed == []
    listener("/jax/core/compile/backend_compile_duration", 2.0, fun_name="step")
    assert trimmed == [0]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An environment `env` and a user's cache folder `cache`, both new, and a process in which JAX is not imported."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delitem(sys.modules, "jax")
    for name in CACHE:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name.upper(), "")  # so that what a test sets is taken back
        monkeypatch.delenv(name.upper())
    return tmp_path


def told():
    return os.environ.get(CACHE[0].upper())


def test_compiled_programs_are_kept_in_the_environment(places):
    runtime.keep_programs()
    assert told() == str(places / "env" / "var" / "jax")
    assert (places / "env" / "var" / "jax").is_dir()


def test_programs_are_kept_that_take_a_tenth_of_a_second_unless_the_reader_says_how_long(places, monkeypatch):
    runtime.keep_programs()
    assert os.environ[CACHE[2].upper()] == "0.1"
    monkeypatch.delenv(CACHE[0].upper())
    monkeypatch.setenv(CACHE[2].upper(), "5")
    runtime.keep_programs()
    assert os.environ[CACHE[2].upper()] == "5"
    assert told() == str(places / "env" / "var" / "jax")


def test_compiled_programs_are_kept_in_the_users_cache_where_there_is_no_environment(places, monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    runtime.keep_programs()
    assert told() == str(places / "cache" / "patchscape" / "jax")


def test_compiled_programs_are_kept_in_the_users_cache_where_the_environment_cannot_be_written(places):
    (places / "env").write_text("a file is no folder, for root neither")
    runtime.keep_programs()
    assert told() == str(places / "cache" / "patchscape" / "jax")


def test_nothing_is_kept_where_nothing_can_be_written(places):
    for name in ("env", "cache"):
        (places / name).write_text("")
    runtime.keep_programs()
    assert told() is None


def test_a_reader_s_own_cache_of_programs_is_left_alone(places, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # none at all
    runtime.keep_programs()
    assert told() == ""
    assert list(places.iterdir()) == []


def test_the_command_line_keeps_programs_too(monkeypatch):
    asked = []
    monkeypatch.setattr(runtime, "keep_programs", lambda: asked.append(True))
    assert CliRunner().invoke(cli.app, ["grid", "smoke", "--names"]).exit_code == 0
    assert asked == [True]


@pytest.fixture
def own_cache(monkeypatch):
    """JAX without a folder for its programs, which then keeps every one; afterwards as it was."""
    before = {name: getattr(jax.config, name) for name in CACHE}
    jax.config.update(CACHE[0], None)
    jax.config.update(CACHE[2], 0.0)
    monkeypatch.setenv(CACHE[2].upper(), "0.0")  # what a reader has said stands
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_a_copy_of_the_project_finds_the_programs_of_the_original(tmp_path, monkeypatch, own_cache):
    """The names of the programs must not depend on where they lie."""
    kept = []
    for copy in ("original", "copy"):
        jax.config.update(CACHE[0], None)
        monkeypatch.setattr(sys, "prefix", str(tmp_path / copy))
        runtime.keep_programs()
        compilation_cache.reset_cache()
        jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
        kept.append({path.name for path in (tmp_path / copy / "var" / "jax").glob("*lambda*-cache")})
    assert len(kept[0]) == 1
    assert kept[0] == kept[1]


def test_a_folder_that_jax_already_has_is_left_alone(tmp_path, monkeypatch, own_cache):
    jax.config.update(CACHE[0], str(tmp_path / "mine"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    runtime.keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
