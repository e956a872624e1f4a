"""An S3 server in this process, for tests: a bucket of its own each, that can be taken away and looked into."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


class S3Server:
    """Serves on one local port; what it holds stays while it is stopped."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Serve, again if it was stopped."""
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.stop()


class Bucket:
    """An empty bucket; ``name`` is its own."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.name = server, f"bucket-{uuid4().hex[:12]}"
        self.url = f"s3://{self.name}"
        config = Config(connect_timeout=5, read_timeout=10)
        self.client: Any = boto3.client("s3", endpoint_url=server.endpoint, config=config)
        self.client.create_bucket(Bucket=self.name)

    def keys(self) -> list[str]:
        """Return all keys, in order."""
        found = self.client.list_objects_v2(Bucket=self.name)
        return [each["Key"] for each in found.get("Contents", [])]

    def get(self, key: str) -> bytes:
        """Return an object."""
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.client.delete_object(Bucket=self.name, Key=key)


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Serve a new bucket, and let this process and those it starts find it as they would find Amazon's."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in ENVIRONMENT.items():
            patched.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
            patched.delenv(name, raising=False)
        server = S3Server()
        patched.setenv("AWS_ENDPOINT_URL", server.endpoint)
        made = Bucket(server)
        try:
            yield made
        finally:
            made.client.close()
            server.stop()
