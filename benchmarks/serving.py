"""Measure latency and throughput of this service, ``mlflow models serve`` and a plain Flask app in one run.

    python -m benchmarks.serving

Writes the section "Serving" of benchmarks/RESULTS.md. All servers get the same full-size images and the same network
(the release, or ``--bundle``), one after the other, each in its own processes; this process creates the load on the
same machine. The images are the originals in PNEUMONIA_MIRROR, or phantoms of the same size.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks import results
from pneumonia.data import phantom
from pneumonia.registry import pyfunc

FULL_SIZE = 1000
"""Mean height of the phantoms, pixels, about that of the originals."""
IMAGES = 20
WARM_UP = 20
CLIENTS = 32
SECONDS = 20.0
REQUESTS_OF_ONE = 200
REQUESTS_FOR_MEMORY = 10_000
SECONDS_TO_START = 300
BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Server:
    """A server to measure: name, command for a port, paths for predictions and readiness, and body of a request."""

    name: str
    command: Callable[[int], Sequence[str | Path]]
    path: str
    ready: str
    body: Callable[[bytes], tuple[str, bytes]]


@dataclass(frozen=True)
class Load:
    """Result of a load test: seconds per successful request, number of failed ones, duration in seconds."""

    seconds: list[float]
    errors: int
    duration: float

    @property
    def rate(self) -> float:
        """Successful requests per second."""
        return len(self.seconds) / self.duration

    def milliseconds(self, percentile: float) -> float:
        """Return a percentile (0 to 100) of the request latency, in milliseconds."""
        return 1000 * float(np.percentile(self.seconds, percentile))


def main() -> None:
    """Measure all servers and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, default=Path("release"))
    bundle = parser.parse_args().bundle.resolve()
    machine = (
        f"{os.cpu_count()} CPU cores, shared by servers and clients, load average {os.getloadavg()[1]:.1f} before"
    )
    images, of_what = _images()
    loads: dict[str, tuple[Load, Load]] = {}
    memory: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for server in _servers(bundle, Path(scratch)):
            requests = [_request(server, image) for image in images]
            with _running(server) as (port, process):
                asyncio.run(_load(port, requests, clients=1, count=WARM_UP))
                alone = asyncio.run(_load(port, requests, clients=1, count=REQUESTS_OF_ONE))
                many = asyncio.run(_load(port, requests, clients=CLIENTS, seconds=SECONDS))
                loads[server.name] = alone, many
                if not memory:  # this service is the first
                    memory = _memory(port, requests, process)
    print(results.write("Serving", _render(loads, memory, machine, of_what)))


def _images() -> tuple[list[bytes], str]:
    mirror = Path(os.environ.get("PNEUMONIA_MIRROR", "")) / "originals"
    originals = sorted(mirror.rglob("*.jpeg")) if os.environ.get("PNEUMONIA_MIRROR") else []
    if originals:
        chosen = random.Random(1).sample(originals, min(IMAGES, len(originals)))
        return [file.read_bytes() for file in chosen], f"{len(chosen)} original radiographs (JPEG)"
    return [_phantom(seed) for seed in range(IMAGES)], f"{IMAGES} phantoms (JPEG) of the originals' size"


def _phantom(seed: int) -> bytes:
    drawn = phantom.draw(np.random.default_rng(seed), "bacteria", size=FULL_SIZE, difficulty=0.5)
    file = io.BytesIO()
    Image.fromarray(drawn.pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _servers(bundle: Path, scratch: Path) -> Iterator[Server]:
    serve = "from pneumonia.cli.serve import serve; serve()"
    yield Server(
        "this service",
        lambda port: [
            *(sys.executable, "-c", serve, "--bundle", bundle),
            *("--state", scratch / "state", "--port", str(port)),
        ],
        "/api/v1/predictions",
        "/readyz",
        lambda image: _multipart("files", image),
    )
    yield Server(
        "`mlflow models serve`",
        lambda port: [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"),
            *("-m", _mlflow_model(bundle, scratch / "model"), "-p", str(port)),
        ],
        "/invocations",
        "/ping",
        _invocation,
    )
    yield Server(
        "plain Flask, `model.predict`",
        lambda port: [sys.executable, Path(__file__).with_name("plain_flask.py"), bundle / "model.keras", str(port)],
        "/predict",
        "/",
        lambda image: _multipart("file", image),
    )


def _mlflow_model(bundle: Path, folder: Path) -> Path:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=folder,
        python_model=pyfunc.__file__,
        artifacts={"bundle": str(bundle)},
        pip_requirements=[f"mlflow=={metadata.version('mlflow')}"],
        signature=pyfunc.SIGNATURE,
    )
    return folder


def _multipart(field: str, image: bytes) -> tuple[str, bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="image.jpeg"\r\n\r\n'
    return f"multipart/form-data; boundary={BOUNDARY}", head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def _invocation(image: bytes) -> tuple[str, bytes]:
    table = {"columns": ["image"], "data": [[base64.b64encode(image).decode()]]}
    return "application/json", json.dumps({"dataframe_split": table}).encode()


def _request(server: Server, image: bytes) -> bytes:
    """Return a complete HTTP request, prepared beforehand to keep the clients cheap."""
    kind, body = server.body(image)
    head = (
        f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def _running(server: Server) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        [str(part) for part in server.command(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=quiet,
    )
    try:
        _wait(f"http://127.0.0.1:{port}{server.ready}", process)
        yield port, process
    finally:
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.terminate()
        process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except urllib.error.HTTPError:  # the server responds, which is enough
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the server for {address} did not start")


async def _load(
    port: int, requests: Sequence[bytes], *, clients: int, count: int | None = None, seconds: float | None = None
) -> Load:
    """Send requests from parallel clients without a pause, up to ``count`` requests or for ``seconds``."""
    took: list[float] = []
    errors = 0
    left = count
    start = time.perf_counter()

    async def ask(number: int) -> None:
        nonlocal errors, left
        connection = None
        while (left is None or left > 0) and (seconds is None or time.perf_counter() - start < seconds):
            left = None if left is None else left - 1
            number += 1
            begun = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                status, stays_open = await _exchange(*connection, requests[number % len(requests)])
                if status == 200:
                    took.append(time.perf_counter() - begun)
                else:
                    errors += 1
            except (OSError, asyncio.IncompleteReadError, ValueError):
                errors += 1
                stays_open = False
            if connection and not stays_open:
                connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    await asyncio.gather(*(ask(number * 7) for number in range(clients)))
    return Load(took, errors, time.perf_counter() - start)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bool]:
    """Send a request and read the response; return its status and whether the connection can be reused."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    version, status, *_ = head.split(" ", 2)
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(fields["content-length"]))
    return int(status), version == "http/1.1" and fields.get("connection") != "close"


def _memory(port: int, requests: Sequence[bytes], process: subprocess.Popen[bytes]) -> list[tuple[int, float]]:
    """Return the resident memory in MB after each thousand requests."""
    server = psutil.Process(process.pid)
    measured = [(0, server.memory_info().rss / 1e6)]
    for done in range(1000, REQUESTS_FOR_MEMORY + 1, 1000):
        asyncio.run(_load(port, requests, clients=4, count=1000))
        measured.append((done, server.memory_info().rss / 1e6))
    return measured


def _render(loads: dict[str, tuple[Load, Load]], memory: list[tuple[int, float]], machine: str, of_what: str) -> str:
    ours = next(iter(loads.values()))[1].rate
    return "\n".join(
        [
            f"Command: `python -m benchmarks.serving`, on {machine}; compare the ratios.",
            "",
            f"{of_what}, the same network, one server after the other in one run. This service also checks",
            "whether the image is familiar, stores the prediction in SQLite and keeps the image for the "
            "page; the others "
            "do not.",
            "",
            f"| | p50 ms, 1 client | p99 ms | images per second, {CLIENTS} clients | p50 ms | p99 ms | errors | "
            "throughput of this service as a multiple |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_row(name, *load, ours) for name, load in loads.items()),
            "",
            f"Memory of this service (resident, MB) over {REQUESTS_FOR_MEMORY:,} more requests. Images for the page "
            "are cached in at most 512 MiB,",
            "the oldest are removed first.",
            "",
            f"| requests | {' | '.join(f'{done:,}' for done, _ in memory)} |",
            f"| --- | {' | '.join('---' for _ in memory)} |",
            f"| MB | {' | '.join(f'{size:.0f}' for _, size in memory)} |",
        ]
    )


def _row(name: str, alone: Load, many: Load, ours: float) -> str:
    return (
        f"| {name} | {alone.milliseconds(50):.1f} | {alone.milliseconds(99):.1f} | {many.rate:.1f} | "
        f"{many.milliseconds(50):.0f} | {many.milliseconds(99):.0f} | {many.errors} | {ours / many.rate:.1f} |"
    )


if __name__ == "__main__":
    main()
