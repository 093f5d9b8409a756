"""Show the built book at an address on this machine, which no other machine can reach.

Usage: make serve (PORT=8000).
"""

import contextlib
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parents[1] / "_build" / "html"


def main(port: str) -> str | None:
    """Serves the pages until Ctrl-C.

    Args:
        port: a number, as text.

    Returns:
        A sentence on what is wrong, if anything is.
    """
    if not (HTML / "index.html").is_file():
        return "The book is not built yet: run `make book` first."
    if not (port.isdecimal() and 0 < int(port) < 65536):
        return f"PORT={port}: give a number from 1 to 65535."
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), partial(SimpleHTTPRequestHandler, directory=HTML))
    except OSError as error:
        return f"Port {port} cannot be had ({error.strerror}): name another, as in `make serve PORT=8001`."
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"The book is at http://localhost:{port} until Ctrl-C.", flush=True)
        server.serve_forever()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
