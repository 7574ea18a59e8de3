"""What every stage's entry point shares: read params.yaml, run, answer errors in one message."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

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
