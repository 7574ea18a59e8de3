"""Who may use the service: API keys and the page's password, in files that hold hashes only.

A key is random and long, so that one round of SHA-256 protects it; a password is not, and gets Argon2id (RFC 9106).
"""

import hashlib
import os
import secrets
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pneumonia.errors import ServiceError

KEY_BYTES = 32
KEY_START = "pn_"
SHORTEST_PASSWORD = 12
_hasher = PasswordHasher()


def add_key(file: Path, name: str) -> str:
    """Make an API key, add its hash to a file, and return it: it can never be shown again.

    Raises:
        ServiceError: the name is taken or has blanks.
    """
    if not name or any(sign.isspace() for sign in name):
        raise ServiceError(f"expected a name without blanks for the key, got {name!r}.")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if any(line.split()[:1] == [name] for line in lines):
        raise ServiceError(f"{file} has a key named {name}. Delete its line to replace it, or choose another name.")
    key = KEY_START + secrets.token_urlsafe(KEY_BYTES)
    _write(file, "\n".join([*lines, f"{name} {_hash(key)}", ""]))
    return key


def set_password(file: Path, password: str) -> None:
    """Write the hash of a password to a file.

    Raises:
        ServiceError: it is too short.
    """
    if len(password) < SHORTEST_PASSWORD:
        raise ServiceError(f"the password has {len(password)} characters, expected {SHORTEST_PASSWORD} or more.")
    _write(file, _hasher.hash(password) + "\n")


class Keys:
    """The API keys that are accepted."""

    def __init__(self, file: Path | None) -> None:
        """Read a file of `add_key`; None accepts no key.

        Raises:
            ServiceError: it cannot be read, or has other lines.
        """
        self._hashes: frozenset[str] = frozenset()
        if file:
            rows = [line.split() for line in _read(file).splitlines() if line.strip()]
            if not rows or any(len(row) != 2 or len(row[1]) != 2 * KEY_BYTES for row in rows):
                raise ServiceError(f"{file} holds no keys. Make one: `pneumonia access key {file} NAME`.")
            self._hashes = frozenset(digest for _, digest in rows)

    def accept(self, key: str) -> bool:
        """Return whether a key is one of them. Looking up a hash tells nothing of the key by its timing."""
        return _hash(key) in self._hashes


class Password:
    """The password of the page."""

    def __init__(self, file: Path) -> None:
        """Read a file of `set_password`.

        Raises:
            ServiceError: it cannot be read, or holds something else.
        """
        self._hash = _read(file).strip()
        try:
            _hasher.check_needs_rehash(self._hash)
        except InvalidHashError:
            raise ServiceError(
                f"{file} holds no password hash. Make it: `pneumonia access password {file}`."
            ) from None

    def accept(self, password: str) -> bool:
        """Return whether it is the password; takes some 50 ms of one core, on purpose."""
        try:
            return _hasher.verify(self._hash, password)
        except VerificationError:
            return False


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"{file} cannot be read ({error}). Expected a file of `pneumonia access`.") from None


def _write(file: Path, text: str) -> None:
    """Replace a file that only its owner may read, all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as new:
        new.write(text)
    fresh.replace(file)
