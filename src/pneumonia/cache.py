"""Where downloads and what can be made again are kept between runs."""

import os
from pathlib import Path


def folder() -> Path:
    """Return ``$XDG_CACHE_HOME/pneumonia`` (``~/.cache/pneumonia``); it may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pneumonia"
