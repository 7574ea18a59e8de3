"""Immutable application settings."""

import ipaddress
from pathlib import Path

from pydantic import Field

from pneumonia.core.errors import ServiceError
from pneumonia.core.model import FrozenModel
from pneumonia.monitoring.log import default_url

MIB = 2**20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class RequestLimits(FrozenModel):
    """Limits on uploads, images, time and request rate.

    Attributes:
        file_bytes: maximum size of one image, as uploaded or as unpacked from a ZIP archive.
        request_bytes: maximum size of one upload request.
        unpacked_bytes: maximum total size of the contents of one ZIP archive.
        pending_bytes: maximum total size of all uploads that are being received or processed.
        pixels: maximum width times height of one image.
        files: maximum number of images in one request; images in ZIP archives count individually.
        upload_seconds: maximum time to receive a request.
        answer_seconds: maximum time to process one image.
        header_seconds: maximum time to receive the headers of a request.
        requests_per_minute: maximum number of requests per client.
        logins_per_minute: maximum number of login attempts and wrong API keys per client.
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


class AppSettings(FrozenModel):
    """Settings of one application; the command line options of ``pneumonia serve`` set most of them.

    Attributes:
        project: folder whose model registry has the champion, and whose ``release/`` is the fallback.
        bundle: bundle folder to serve instead of champion and release.
        state: folder for the secret key and, by default, the databases.
        database: SQLAlchemy URL of the prediction database; None for SQLite in ``state``.
        log: SQLAlchemy URL of the prediction log; None for SQLite in ``state``.
        host: address to listen on.
        port: port to listen on; 0 for any free port.
        hostnames: additional host names of this service, such as the name of a reverse proxy.
        key_file: file with names and hashes of the accepted API keys.
        password_file: file with the hash of the page's password.
        insecure: serve other machines without API key and password.
        keep_images: folder for the pixels of every uploaded image; None to store no images.
        limits: limits on uploads, images, time and request rate.
        queue_size: maximum number of images waiting or being processed; more are rejected with status 503.
        batch_size: maximum number of images per forward pass.
        image_cache_bytes: maximum size of the images held in memory for the page.
        image_cache_seconds: how long images are held in memory.
        session_seconds: how long a login is valid.
        model_poll_seconds: interval between checks for another champion.
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
    limits: RequestLimits = RequestLimits()
    queue_size: int = Field(256, gt=0)
    batch_size: int = Field(4, gt=0)
    image_cache_bytes: int = Field(512 * MIB, gt=0)
    image_cache_seconds: float = Field(1800, gt=0)
    session_seconds: int = Field(12 * 3600, gt=0)
    model_poll_seconds: float = Field(10, gt=0)

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the prediction database."""
        return self.database or f"sqlite:///{self.state.resolve() / 'predictions.db'}"

    @property
    def log_url(self) -> str:
        """SQLAlchemy URL of the prediction log."""
        return self.log or default_url(self.state)

    @property
    def has_authentication(self) -> bool:
        """Whether clients need an API key or a password."""
        return bool(self.key_file or self.password_file)

    @property
    def is_local(self) -> bool:
        """Whether the service is reachable only from this machine, according to these settings."""
        return _is_loopback(self.host) and not self.hostnames

    @property
    def allowed_hosts(self) -> tuple[str, ...] | None:
        """Accepted values of the Host header without port; None to accept any.

        On a loopback address the Host header is checked to prevent DNS rebinding: otherwise another site could point
        its own name at 127.0.0.1, and its pages could read the responses.
        """
        return (*LOOPBACK_NAMES, self.host, *self.hostnames) if _is_loopback(self.host) else None

    def require_authentication(self) -> None:
        """Check that a service that other machines can reach has an API key or a password.

        Raises:
            ServiceError: other machines can reach the service, and neither authentication nor ``insecure`` is set.
        """
        if self.is_local or self.has_authentication or self.insecure:
            return
        raise ServiceError(
            f"{', '.join((self.host, *self.hostnames))} is reachable from other machines, which requires an API key "
            "or a password. Create one (`pneumonia access key FILE NAME`, `pneumonia access password FILE`) and pass "
            "its file (--key-file, --password-file), listen on 127.0.0.1, or pass --insecure."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
