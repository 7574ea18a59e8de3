"""Run a stage: read params.yaml, call the stage, turn expected errors into one message and status 1."""

import errno
import sys
from collections.abc import Callable

from pipeline import params
from pipeline.params import Params
from pneumonia.core.errors import ConfigError, PneumoniaError


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage on params.yaml of the current folder."""
    _run(lambda: stage(params.load()))


def run_for_model(stage: Callable[[Params, str], None]) -> None:
    """Run a stage for the model that the command line names, one of ``train.models``."""

    def checked() -> None:
        settings = params.load()
        if len(sys.argv) != 2 or sys.argv[1] not in settings.train.models:
            raise ConfigError(
                f"expected one model of train.models in params.yaml ({', '.join(settings.train.models)}), "
                f"got {' '.join(sys.argv[1:]) or 'none'}."
            )
        stage(settings, sys.argv[1])

    _run(checked)


def _run(stage: Callable[[], None]) -> None:
    try:
        stage()
    except PneumoniaError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error}). Free some space and run again; finished stages are kept.")
