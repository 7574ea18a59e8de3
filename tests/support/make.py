"""Servers that `make` starts, and requests to them."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import readme


def free_port() -> int:
    """Return a port on localhost that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*target: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a target of the Makefile while the block lasts."""
    server = subprocess.Popen(
        ["make", *target],
        cwd=readme.ROOT,
        env=os.environ | {"BROWSER": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def fetch(url: str, server: "subprocess.Popen[bytes]") -> str:
    """Return a page as soon as the server answers."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return str(answer.read().decode())
        except OSError:
            assert server.poll() is None, "the server has exited"
            assert time.monotonic() < deadline
            time.sleep(0.5)
