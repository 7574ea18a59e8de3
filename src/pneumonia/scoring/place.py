"""A folder on this machine or in a bucket, behind one small set of calls (fsspec)."""

from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pneumonia.errors import ScoringError

PARTIAL = ".partial"


class Place:
    """A folder by its path or URL (``s3://bucket/prefix``); credentials and endpoint come from the environment."""

    def __init__(self, url: str) -> None:
        """Name a folder; it need not be there yet.

        Raises:
            ScoringError: nothing here understands such a URL.
        """
        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ScoringError(
                f"{url} cannot be opened ({error}). Expected a folder, or s3://BUCKET/PREFIX with the extra kubeflow "
                "installed (pip install 'pneumonia[kubeflow]')."
            ) from error
        self._root = root.rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def files(self) -> dict[str, int]:
        """Return the sizes in bytes of all files, at any depth, by their names below the folder.

        Raises:
            ScoringError: it is not there, or may not be read.
        """
        try:
            self._fs.invalidate_cache()
            found: dict[str, Any] = self._fs.find(self._root, detail=True)
        except Exception as error:  # each store has errors of its own
            raise ScoringError(f"{self.url} cannot be listed ({error}). Check name and credentials.") from error
        return {name[len(self._root) + 1 :]: int(entry["size"]) for name, entry in found.items()}

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            OSError: it cannot be read.
        """
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/{name}")
        except OSError:
            raise
        except Exception as error:  # botocore's, for one
            raise OSError(f"{name}: {error}") from error
        return content

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        return bool(self._fs.exists(f"{self._root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; one that is there is replaced."""
        target = f"{self._root}/{name}"
        if not self._is_local:
            self._fs.pipe_file(target, content)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(target + PARTIAL)
        partial.write_bytes(content)
        partial.replace(target)

    def put(self, file: Path, name: str) -> None:
        """Move a finished file of this machine to this place, whole or not at all."""
        target = f"{self._root}/{name}"
        if not self._is_local:
            self._fs.put_file(str(file), target)
            file.unlink()
            return
        partial = Path(target + PARTIAL)
        self._fs.mv(str(file), str(partial))
        partial.replace(target)
