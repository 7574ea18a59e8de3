"""SHA-256 of files and folders."""

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: Path) -> str:
    """Return the SHA-256 of the list ``<sha256>  <path>`` of every file in a folder, sorted by path.

    The list has the format of the ``sha256sum`` command; paths are relative to the folder and use ``/``.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listing = "".join(f"{of_file(files[name])}  {name}\n" for name in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()
