"""Run files: one safetensors file per run, written atomically, with provenance and a checksum inside."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from patchscape import runtime

_KEY = "patchscape"
_LIBRARIES = ("jax", "jaxlib", "numpy", "optax", "scipy", "pennylane")


class Record(NamedTuple):
    """What a run file holds.

    Attributes:
        arrays: named arrays.
        meta: configuration, scalars and provenance, plain JSON data.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def provenance() -> dict[str, Any]:
    """Returns where and with what a result is made: code version, library versions, device, time of day.

    Returns:
        Plain JSON data. `code` is the git commit, with "+changes" if the package differs from it, and "unknown" where
        the project is no git repository of its own.
    """
    import jax

    device = jax.devices()[0]
    return {
        "code": _code_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "device": {"platform": device.platform, "kind": device.device_kind, "cores": os.cpu_count()},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _code_version() -> str:
    root = runtime.ROOT
    if root is None:
        return "unknown"  # an installed package
    # in a git hook such variables name the repository of the hook
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"  # an archive inside a repository of something else
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--", "lib/patchscape") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def checksum(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of named arrays and plain JSON data, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file whole or not at all: to a temporary file beside it, then renamed.

    Args:
        path: the file; missing folders are made.
        content: what it shall hold.

    Raises:
        OSError: if it cannot be written; an earlier file is left as it was.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"{path} could not be written ({error.strerror or error}); what was there is unchanged."
            raise type(error)(message) from error
        raise


def write(path: str | Path, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes a run file atomically.

    Args:
        path: the file, ending in .safetensors.
        arrays: named arrays.
        meta: plain JSON data.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    meta = json.loads(json.dumps(meta))
    header = json.dumps({"meta": meta, "sha256": checksum(arrays, meta)})
    write_bytes(path, save(arrays, metadata={_KEY: header}))


def read(path: str | Path) -> Record:
    """Reads a run file and checks that it is whole and unchanged.

    Args:
        path: the file.

    Returns:
        Its arrays and metadata.

    Raises:
        ValueError: if the file is truncated, edited, or not written by this package.
        OSError: if it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(_KEY, "")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        with Path(path).open("rb") as file:
            ours = f'"{_KEY}"'.encode() in file.read(100)
        if ours:
            raise ValueError(f"{path} is not whole ({error}): delete it and rerun.") from error
        raise ValueError(f"{path} is no run file of patchscape ({error}): name one (.safetensors).") from error
    except OSError as error:  # of a folder, or a file without permission; it does not say which
        raise type(error)(f"{path} cannot be read ({error}).") from error
    try:
        content = json.loads(header)
        found, meta = content["sha256"], content["meta"]
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"{path} is no run file of patchscape: name one (.safetensors).") from None
    if found != checksum(arrays, meta):
        raise ValueError(f"{path} was changed after it was written (checksum differs): delete it and rerun.")
    return Record(arrays, meta)
