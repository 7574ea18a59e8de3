"""The service's secret key, and pseudonyms made with it.

Identifiers (DICOM patients, file names) are stored as HMAC-SHA256 (RFC 2104) under that key: images of one patient can
be told to belong together, but nobody without the key can find a patient by trying all numbers.
"""

import hashlib
import hmac
import os
import stat
from pathlib import Path

from pneumonia.errors import ServiceError

KEY_BYTES = 32
FILE = "secret.key"
OWNER_ONLY = stat.S_IRWXG | stat.S_IRWXO


def load_or_make(folder: Path) -> bytes:
    """Return the key in a folder; the first call makes folder and key, readable by their owner alone.

    Raises:
        ServiceError: the key has another length, others may read it, or the folder cannot be written to.
    """
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _load(file)
    except OSError as error:
        raise ServiceError(
            f"{file} cannot be made ({error}). Name a folder that can be written to (--state)."
        ) from None
    with os.fdopen(handle, "wb") as new:
        new.write(os.urandom(KEY_BYTES))
    return file.read_bytes()


def _load(file: Path) -> bytes:
    if file.stat().st_mode & OWNER_ONLY:
        raise ServiceError(f"{file} can be read by others, expected by its owner alone. Run `chmod 600 {file}`.")
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise ServiceError(
            f"{file} has {len(key)} bytes, expected {KEY_BYTES}. Restore it, or move it away for a new one: "
            "pseudonyms stored before will then not match those to come."
        )
    return key


def pseudonym(key: bytes, kind: str, identifier: str) -> str:
    """Return the keyed hash of an identifier, 64 hex digits; the same text of another ``kind`` gives another."""
    return hmac.new(key, f"{kind}\0{identifier}".encode(), hashlib.sha256).hexdigest()
