"""Applications on a port of this machine, and images to upload."""

import io
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image

from pneumonia.data import phantom
from pneumonia.serving import server as servers
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings

CHROMIUM = "/usr/bin/chromium"


@contextmanager
def serving(settings: AppSettings) -> Iterator[str]:
    """Serve an application in a thread on a free port, and yield its URL."""
    server = uvicorn.Server(servers.make_config(create_app(settings), settings.model_copy(update={"port": 0})))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    assert thread.is_alive(), "the server has stopped"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://{settings.host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def radiograph(seed: int, brightness: float | None = None, size: int = 320) -> bytes:
    """Draw a phantom as PNG, with a given mean grey level (0 to 255) or its own."""
    pixels = phantom.draw(np.random.default_rng(seed), "bacteria", size=size, difficulty=0).pixels.astype(np.float32)
    if brightness is not None:  # a gamma curve keeps black and white
        low, high = 0.05, 20.0
        for _ in range(40):
            gamma = (low * high) ** 0.5
            low, high = (gamma, high) if (255 * (pixels / 255) ** gamma).mean() > brightness else (low, gamma)
        pixels = 255 * (pixels / 255) ** gamma
    return png(pixels.round().astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey levels (H, W)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files to upload on the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a ZIP archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
