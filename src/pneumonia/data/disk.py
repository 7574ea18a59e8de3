"""A full disk, said in words."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.errors import SourceError


@contextmanager
def room_for(size: int, folder: Path) -> Iterator[None]:
    """Write about ``size`` bytes into an existing folder; running out of space becomes a SourceError.

    Space is not checked beforehand: network file systems and quotas often report it wrongly.
    """
    free = shutil.disk_usage(folder).free
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(
            f"The disk is full: {size / 1e6:,.1f} MB have to be written to {folder}, where {free / 1e6:,.1f} MB were "
            "free. Free some space, or put the project on a larger disk, and run again."
        ) from error
