"""What every stage's entry point shares: read params.yaml, run, answer errors in one message."""

import errno
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumonia import config
from pneumonia.errors import PneumoniaError


def run(stage: Callable[[config.Params], None]) -> None:
    """Run a stage on ``params.yaml`` of the current folder; exit with status 1 and a message when it refuses."""
    try:
        stage(config.load(Path("params.yaml")))
    except PneumoniaError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error}). Free some space and run again; earlier stages are kept.")


def write_json(path: Path, report: Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """Write a report, its keys in the order given or sorted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, sort_keys=sort_keys) + "\n", encoding="utf-8")
