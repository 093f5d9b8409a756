import subprocess
import sys

CODE = """
import importlib, sys
books = ("chapters", "status", "pages", "explorer", "experiment")
for room in ("tables", "figures", "store.records", *(f"book.{name}" for name in books)):
    importlib.import_module(f"patchscape.{room}")
found = sorted(name for name in sys.modules if name.split(".")[0] in ("jax", "jaxlib", "pennylane"))
sys.exit(f"imported: {found[:5]}" if found else 0)
"""


def test_reading_results_and_drawing_them_imports_neither_jax_nor_pennylane():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
