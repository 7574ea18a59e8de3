"""Local folders and S3 buckets behind one interface (fsspec), with atomic writes."""

from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pneumonia.core.errors import ScoringError
from pneumonia.images.formats import HEAD_SIZE

PARTIAL = ".partial"


class Place:
    """A folder, by its path or URL (``s3://bucket/prefix``). Credentials and endpoint come from the environment."""

    def __init__(self, url: str) -> None:
        """Refer to a folder, which need not exist yet.

        Raises:
            ScoringError: the protocol of the URL is not supported, or its extra is not installed.
        """
        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ScoringError(
                f"{url} cannot be opened ({error}). Expected a folder, or s3://BUCKET/PREFIX with the extra s3 "
                "installed (pip install 'pneumonia[s3]')."
            ) from error
        self._root = root.rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def files(self) -> dict[str, int]:
        """Return the size in bytes of each file, at any depth, by its path relative to the folder.

        Raises:
            ScoringError: the folder does not exist, or access is denied.
        """
        try:
            self._fs.invalidate_cache()
            entries: dict[str, Any] = self._fs.find(self._root, detail=True)
        except Exception as error:  # each file system has errors of its own
            raise ScoringError(f"{self.url} cannot be listed ({error}). Check name and credentials.") from error
        return {name[len(self._root) + 1 :]: int(entry["size"]) for name, entry in entries.items()}

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/{name}")
        except OSError:
            raise
        except Exception as error:  # such as botocore's
            raise OSError(f"{name}: {error}") from error
        return content

    def read_head(self, name: str) -> bytes:
        """Return the first `HEAD_SIZE` bytes of a file; none where it is no regular file or may not be read.

        Raises:
            ScoringError: the store does not answer.
        """
        target = f"{self._root}/{name}"
        if self._is_local and not Path(target).is_file():  # opening a named pipe would block
            return b""
        try:
            head: bytes = self._fs.cat_file(target, start=0, end=HEAD_SIZE)
        except (PermissionError, FileNotFoundError):
            return b""
        except Exception as error:  # each file system has errors of its own
            raise ScoringError(f"{self.url}/{name} cannot be read ({error}). Run the same command again.") from error
        return head

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return bool(self._fs.exists(f"{self._root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; an existing file is replaced."""
        target = f"{self._root}/{name}"
        if not self._is_local:
            self._fs.pipe_file(target, content)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(target + PARTIAL)
        partial.write_bytes(content)
        partial.replace(target)

    def put(self, file: Path, name: str) -> None:
        """Move a local file to the folder atomically."""
        target = f"{self._root}/{name}"
        if not self._is_local:
            self._fs.put_file(str(file), target)
            file.unlink()
            return
        partial = Path(target + PARTIAL)
        self._fs.mv(str(file), str(partial))
        partial.replace(target)
