"""Turn a full disk into an error with the numbers that help."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.core.errors import SourceError


@contextmanager
def explain_full_disk(size: int, folder: Path) -> Iterator[None]:
    """Convert running out of disk space within the context to a SourceError.

    Free space is not checked beforehand: network file systems and quotas often report it wrongly.

    Args:
        size: bytes that are about to be written.
        folder: existing folder that they are written to.

    Raises:
        SourceError: the disk is full, or a quota is used up.
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
