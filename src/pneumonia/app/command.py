"""``pneumonia serve`` and ``pneumonia access``: the web application, and who may use it.

Everything heavy is imported inside the commands.
"""

import os
from pathlib import Path

import click

from pneumonia.terminal import refusals_in_one_line

File = click.Path(dir_okay=False, path_type=Path)
Folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--bundle", type=Folder, help="A trained model that answers instead of champion or release.")
@click.option("--state", type=Folder, default=".pneumonia", show_default=True, help="Folder for key and database.")
@click.option("--database", help="SQLAlchemy URL (postgresql://...); by default SQLite in the state folder.")
@click.option("--log", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL of the log of predictions; likewise by default.")
@click.option("--key-file", type=File, help="API keys that are accepted (pneumonia access key).")
@click.option("--password-file", type=File, help="Password that the page asks for (pneumonia access password).")
@click.option("--insecure", is_flag=True, help="Let others in without key and password.")
@click.option("--hostname", "hostnames", multiple=True, help="Name that a reverse proxy in front of it goes by.")
@click.option("--proxy", help="Address of that proxy; its word for client and scheme is taken.")
@click.option("--tls-certificate", type=File, help="PEM file, to serve HTTPS.")
@click.option("--tls-key", type=File, help="Its key.")
@click.option("--keep-images", type=Folder, help="Folder for the pixels of each image answered; by default none.")
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
    """Serve the page for readers and the API, with the champion of the registry or the release."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for library in (
        "OMP",
        "OPENBLAS",
    ):  # products of a few hundred numbers: more threads would only wait for each other
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from pneumonia.app import monitoring, server
    from pneumonia.app.main import create_app
    from pneumonia.app.settings import Settings

    settings = Settings(
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
    monitoring.configure_logging()
    with refusals_in_one_line():
        app = create_app(settings)
    facts = app.state.engine.current.model.choice
    scheme = "https" if tls_certificate else "http"
    click.echo(f"model {facts.origin}; open {scheme}://{host}:{port}/", err=True)
    server.run(app, settings, proxy=proxy, tls_certificate=tls_certificate, tls_key=tls_key)


@click.group()
def access() -> None:
    """Make API keys and the page's password; the files hold hashes only."""


@access.command()
@click.argument("file", type=File)
@click.argument("name")
def key(file: Path, name: str) -> None:
    """Make an API key with a name, add its hash to FILE, and print it: once, and never again."""
    from pneumonia.app.access import add_key

    with refusals_in_one_line():
        click.echo(add_key(file, name))


@access.command()
@click.argument("file", type=File)
@click.password_option()
def password(file: Path, password: str) -> None:
    """Ask for a password and write its hash to FILE."""
    from pneumonia.app.access import set_password

    with refusals_in_one_line():
        set_password(file, password)
