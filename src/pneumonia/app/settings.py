"""What the web application is told before it starts, as one frozen value."""

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pneumonia.errors import ServiceError
from pneumonia.monitoring.log import default_url

MIB = 2**20
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Frozen(BaseModel):
    """A value that refuses unknown keys and later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Frozen):
    """How much one client may ask for.

    Attributes:
        file_bytes: of one image, as sent or as unpacked from a zip.
        request_bytes: of one request.
        unpacked_bytes: of all that a zip holds, unpacked.
        pending_bytes: of all uploads that are being received or answered at once.
        pixels: of one image.
        files: images in one request, those in zips counted singly.
        upload_seconds: until a request has been received.
        answer_seconds: until an image has been answered.
        header_seconds: until a connection has sent the head of a request.
        requests_per_minute: of one client.
        logins_per_minute: wrong passwords and keys, of one client.
    """

    file_bytes: int = Field(64 * MIB, gt=0)
    request_bytes: int = Field(256 * MIB, gt=0)
    unpacked_bytes: int = Field(512 * MIB, gt=0)
    pending_bytes: int = Field(1024 * MIB, gt=0)
    pixels: int = Field(50_000_000, gt=0)
    files: int = Field(200, gt=0)
    upload_seconds: float = Field(120, gt=0)
    answer_seconds: float = Field(60, gt=0)
    header_seconds: float = Field(10, gt=0)
    requests_per_minute: int = Field(12_000, gt=0)
    logins_per_minute: int = Field(5, gt=0)


class Settings(Frozen):
    """All there is to set.

    Attributes:
        project: folder whose registry names the champion, and whose release/ answers where there is none.
        bundle: a trained model that answers instead.
        state: folder for the secret key and, by default, for the database.
        database: SQLAlchemy URL; None is SQLite in ``state``.
        log: SQLAlchemy URL of the log of predictions; None is SQLite in ``state``.
        host: address to listen on.
        port: port to listen on; 0 takes any that is free.
        hostnames: further names that a reverse proxy or DNS gives to this service.
        key_file: names and hashes of the API keys.
        password_file: hash of the page's password.
        insecure: listen where others can reach it without key and password.
        keep_images: folder for the pixels of every image that was answered; None keeps none.
        limits: what one client may ask for.
        queue: images that may wait at once; one more is refused for now.
        batch: images that the network sees at once, at most.
        shelf_bytes: memory for the images that the page shows.
        shelf_seconds: how long it shows them.
        session_seconds: how long a login lasts.
        watch_seconds: between two looks for another champion.
    """

    project: Path = Path()
    bundle: Path | None = None
    state: Path = Path(".pneumonia")
    database: str | None = None
    log: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    hostnames: tuple[str, ...] = ()
    key_file: Path | None = None
    password_file: Path | None = None
    insecure: bool = False
    keep_images: Path | None = None
    limits: Limits = Limits()
    queue: int = Field(256, gt=0)
    batch: int = Field(4, gt=0)
    shelf_bytes: int = Field(512 * MIB, gt=0)
    shelf_seconds: float = Field(1800, gt=0)
    session_seconds: int = Field(12 * 3600, gt=0)
    watch_seconds: float = Field(10, gt=0)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{self.state.resolve() / 'predictions.db'}"

    @property
    def log_url(self) -> str:
        """The SQLAlchemy URL of the log of predictions."""
        return self.log or default_url(self.state)

    @property
    def is_locked(self) -> bool:
        """Whether a key or a password is asked for."""
        return bool(self.key_file or self.password_file)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service, as far as its settings tell."""
        return _is_loopback(self.host) and not self.hostnames

    @property
    def accepted_hosts(self) -> tuple[str, ...] | None:
        """Names that a request may call this host; None accepts any.

        A page of another site can point its own name at 127.0.0.1 and read what answers there (DNS rebinding), so
        that a service on this machine answers to its own names only.
        """
        return (*LOCAL_NAMES, self.host, *self.hostnames) if _is_loopback(self.host) else None

    def refuse_an_open_door(self) -> None:
        """Check that nobody who was not meant to can use the service.

        Raises:
            ServiceError: others can reach it, and it asks for neither key nor password.
        """
        if self.is_local or self.is_locked or self.insecure:
            return
        raise ServiceError(
            f"{', '.join((self.host, *self.hostnames))} can be reached by others, expected a key or a password there. "
            "Make one (`pneumonia access key FILE NAME`, `pneumonia access password FILE`) and name its file "
            "(--key-file, --password-file), listen on 127.0.0.1, or say --insecure."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
