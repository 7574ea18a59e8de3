"""``pneumonia serve`` and ``pneumonia access``: the web application, its API keys and its password.

The application is imported inside the commands, so that other commands start fast.
"""

import os
from pathlib import Path

import click

from pneumonia.cli.terminal import exit_on_error

File = click.Path(dir_okay=False, path_type=Path)
Folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--bundle", type=Folder, help="Bundle to serve. Default: the champion, else the release.")
@click.option(
    "--state",
    type=Folder,
    default=".pneumonia",
    show_default=True,
    help="Folder for the secret key and the databases.",
)
@click.option("--database", help="SQLAlchemy URL of the predictions (postgresql://...)  [default: SQLite in --state]")
@click.option("--log", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL of the log  [default: SQLite in --state]")
@click.option("--key-file", type=File, help="Accepted API keys, from `pneumonia access key`.")
@click.option("--password-file", type=File, help="Password of the page, from `pneumonia access password`.")
@click.option("--insecure", is_flag=True, help="Allow access from other machines without authentication.")
@click.option(
    "--hostname",
    "hostnames",
    multiple=True,
    help="Additional host name of this service; may be repeated.",
)
@click.option("--proxy", help="Address of a reverse proxy whose X-Forwarded-* headers are trusted.")
@click.option("--tls-certificate", type=File, help="Certificate for HTTPS, PEM file.")
@click.option("--tls-key", type=File, help="Private key of the certificate, PEM file.")
@click.option("--keep-images", type=Folder, help="Folder for the pixels of uploaded images  [default: none]")
def serve(
    host: str,
    port: int,
    bundle: Path | None,
    state: Path,
    database: str | None,
    log: str | None,
    key_file: Path | None,
    password_file: Path | None,
    insecure: bool,
    hostnames: tuple[str, ...],
    proxy: str | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    keep_images: Path | None,
) -> None:
    """Serve the web page and the API with the registry's champion, or the release."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for library in ("OMP", "OPENBLAS"):  # the matrices are small: more threads would only add overhead
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from pneumonia.serving import server, telemetry
    from pneumonia.serving.main import create_app
    from pneumonia.serving.settings import AppSettings

    settings = AppSettings(
        bundle=bundle,
        state=state,
        database=database,
        log=log,
        host=host,
        port=port,
        hostnames=hostnames,
        key_file=key_file,
        password_file=password_file,
        insecure=insecure,
        keep_images=keep_images,
    )
    telemetry.configure_logging()
    with exit_on_error():
        app = create_app(settings)
    scheme = "https" if tls_certificate else "http"
    origin = app.state.batcher.active.model.source.origin
    click.echo(f"Serving {origin} on {scheme}://{host}:{port}/", err=True)
    server.run(server.make_config(app, settings, proxy=proxy, tls_certificate=tls_certificate, tls_key=tls_key))


@click.group()
def access() -> None:
    """Create API keys and the page's password; the files hold only hashes."""


@access.command()
@click.argument("file", type=File)
@click.argument("name")
def key(file: Path, name: str) -> None:
    """Create an API key named NAME, add its hash to FILE, and print the key, which is not shown again."""
    from pneumonia.serving.access import add_key

    with exit_on_error():
        click.echo(add_key(file, name))


@access.command()
@click.argument("file", type=File)
@click.password_option()
def password(file: Path, password: str) -> None:
    """Prompt for a password and write its hash to FILE."""
    from pneumonia.serving.access import set_password

    with exit_on_error():
        set_password(file, password)
