"""A bucket of an S3 server (moto) on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_DEFAULT_REGION": "us-east-1"}
"""Environment variables for its clients."""


@contextmanager
def serve(name: str) -> Iterator[str]:
    """Serve an empty bucket, and yield the server's address."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        client(endpoint).create_bucket(Bucket=name)
        yield endpoint
    finally:
        # Buckets are global in this process; the next server must not have them.
        urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        server.stop()
        S3FileSystem.clear_instance_cache()  # fsspec keeps connections to this address for the same arguments


def client(endpoint: str) -> Any:
    """Return a client of the server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
