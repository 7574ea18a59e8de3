"""API keys and the page's password, stored as hashes.

An API key is long and random, so that one SHA-256 protects it. A password is hashed with Argon2id (RFC 9106).
"""

import hashlib
import os
import secrets
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pneumonia.core.errors import ServiceError

KEY_BYTES = 32
KEY_PREFIX = "pn_"
MINIMUM_PASSWORD_LENGTH = 12
_hasher = PasswordHasher()


def add_key(file: Path, name: str) -> str:
    """Create an API key, add its hash to a file, and return the key, which cannot be recovered later.

    Args:
        file: file of API keys; created if missing.
        name: label of the key, unique in the file, without whitespace.

    Raises:
        ServiceError: the name is taken or has whitespace.
    """
    if not name or any(character.isspace() for character in name):
        raise ServiceError(f"expected a key name without whitespace, got {name!r}.")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if any(line.split()[:1] == [name] for line in lines):
        raise ServiceError(f"{file} has a key named {name}. Delete its line to replace it, or choose another name.")
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    _write_private(file, "\n".join([*lines, f"{name} {_hash(key)}", ""]))
    return key


def set_password(file: Path, password: str) -> None:
    """Write the hash of a password to a file.

    Raises:
        ServiceError: the password is shorter than `MINIMUM_PASSWORD_LENGTH`.
    """
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise ServiceError(f"the password has {len(password)} characters, expected {MINIMUM_PASSWORD_LENGTH} or more.")
    _write_private(file, _hasher.hash(password) + "\n")


class ApiKeys:
    """The accepted API keys."""

    def __init__(self, file: Path | None) -> None:
        """Read a file written by `add_key`; None accepts no key.

        Raises:
            ServiceError: the file cannot be read, or has no keys or lines of another form.
        """
        self._hashes: frozenset[str] = frozenset()
        if file:
            rows = [line.split() for line in _read(file).splitlines() if line.strip()]
            if not rows or any(len(row) != 2 or len(row[1]) != 2 * KEY_BYTES for row in rows):
                raise ServiceError(f"{file} holds no keys. Create one: `pneumonia access key {file} NAME`.")
            self._hashes = frozenset(digest for _, digest in rows)

    def verify(self, key: str) -> bool:
        """Return whether a key is accepted; only hashes are compared, so that timing reveals nothing about a key."""
        return _hash(key) in self._hashes


class PasswordVerifier:
    """Verifies the page's password."""

    def __init__(self, file: Path) -> None:
        """Read a file written by `set_password`.

        Raises:
            ServiceError: the file cannot be read, or holds no Argon2 hash.
        """
        self._hash = _read(file).strip()
        try:
            _hasher.check_needs_rehash(self._hash)
        except InvalidHashError:
            raise ServiceError(
                f"{file} holds no password hash. Create it: `pneumonia access password {file}`."
            ) from None

    def verify(self, password: str) -> bool:
        """Return whether the password is correct; uses 64 MB of memory and about 50 ms of CPU time by design."""
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
        raise ServiceError(f"{file} cannot be read ({error}). Expected a file made by `pneumonia access`.") from None


def _write_private(file: Path, text: str) -> None:
    """Replace a file atomically; only its owner may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".new")
    descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        new.write(text)
    partial.replace(file)
