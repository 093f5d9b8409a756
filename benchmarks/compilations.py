"""Counts what a notebook kernel compiles; IPython runs this file first if PYTHONSTARTUP names it.

After every cell it writes how many programs JAX has compiled so far, and in how many seconds, to the file that
PATCHSCAPE_COMPILATIONS names. The notebook itself stays as it is.
"""


def _count() -> None:
    import json
    import os
    from pathlib import Path

    import jax

    found = {"compilations": 0, "compile_s": 0.0}

    def add(event: str, duration: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found["compilations"] += 1
        if event.startswith("/jax/core/compile/"):  # tracing and lowering count too
            found["compile_s"] += duration

    jax.monitoring.register_event_duration_secs_listener(add)
    target = Path(os.environ["PATCHSCAPE_COMPILATIONS"])
    get_ipython().events.register("post_run_cell", lambda _: target.write_text(json.dumps(found)))  # noqa: F821


_count()
del _count  # the names of a notebook are its own
