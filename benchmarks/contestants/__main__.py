"""A contestant in a process of its own, which does what `run.py` asks for: python -m contestants NAME.

Requests and answers are pickled on standard input and output; what a library prints goes to standard error.
"""

import importlib
import importlib.metadata
import os
import pickle
import platform
import sys
import time

from contestants import Contestant
from patchscape.config import ModelConfig


def main() -> None:
    """Answers requests (verb, arguments) until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    name, _, variant = sys.argv[1].partition(":")
    module = importlib.import_module(f"contestants.{name}")
    contestant: Contestant | None = None
    while True:
        try:
            verb, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if verb == "build":
            contestant = module.build(ModelConfig(**arguments[0]), *[variant] * bool(variant))
            versions = {name: importlib.metadata.version(name) for name in contestant.libraries}
            answer = {"versions": versions | {"python": platform.python_version()}}
            answer["has"] = [what for what in Contestant._fields[:3] if getattr(contestant, what)]
        else:
            start = time.perf_counter(), time.process_time()
            value = getattr(contestant, verb)(*arguments)
            answer = {"seconds": time.perf_counter() - start[0], "cpu_s": time.process_time() - start[1]}
            answer["value"] = value
        pickle.dump(answer, answers)
        answers.flush()


main()
