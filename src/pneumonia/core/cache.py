"""Cache folder for downloads and files that can be rebuilt."""

import os
from pathlib import Path


def folder() -> Path:
    """Return ``$XDG_CACHE_HOME/pneumonia`` (``~/.cache/pneumonia``); it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pneumonia"
