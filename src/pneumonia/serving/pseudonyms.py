"""The service's secret key, and pseudonyms of identifiers.

DICOM patient identifiers and file names are stored as HMAC-SHA256 (RFC 2104) under the key. Images of one patient can
be linked, but without the key an identifier cannot be recovered by trying all candidates.
"""

import hashlib
import hmac
import os
import stat
from pathlib import Path

from pneumonia.core.errors import ServiceError

KEY_BYTES = 32
KEY_FILE = "secret.key"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_or_create_key(folder: Path) -> bytes:
    """Return the secret key of a state folder (32 bytes); the first call creates folder and key.

    Raises:
        ServiceError: the key has another length, other users may read it, or the folder is not writable.
    """
    file = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _load(file)
    except OSError as error:
        raise ServiceError(f"{file} cannot be created ({error}). Pass a writable folder (--state).") from None
    with os.fdopen(descriptor, "wb") as new:
        new.write(os.urandom(KEY_BYTES))
    return file.read_bytes()


def pseudonymize(key: bytes, kind: str, identifier: str) -> str:
    """Return the keyed hash of an identifier.

    Args:
        key: secret key.
        kind: what is identified, such as ``patient``; the same text of another kind has another pseudonym.
        identifier: text to replace.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> pseudonymize(b"key", "patient", "4711") == pseudonymize(b"key", "patient", "4711")
        True
        >>> pseudonymize(b"key", "patient", "4711") == pseudonymize(b"other", "patient", "4711")
        False
    """
    return hmac.new(key, f"{kind}\0{identifier}".encode(), hashlib.sha256).hexdigest()


def _load(file: Path) -> bytes:
    if file.stat().st_mode & _OTHERS:
        raise ServiceError(f"{file} is readable by other users. Run `chmod 600 {file}`.")
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise ServiceError(
            f"{file} has {len(key)} bytes, expected {KEY_BYTES}. Restore it, or move it away to create a new key; "
            "pseudonyms stored so far will not match new ones."
        )
    return key
