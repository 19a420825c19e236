"""Places behind URLs, for `bench_places`: servers on the loopback address in processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_HTTP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from file_server import FileServer
server = FileServer(Path(sys.argv[1]))
print(server.url, flush=True)
server.serve_forever()
"""
_S3 = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _process(code: str, *args: str) -> Iterator[str]:
    """Run code that prints the URL of a server, and yield that."""
    command = [sys.executable, "-c", code, *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextlib.contextmanager
def on_http(folder: Path, work: Path) -> Iterator[str]:
    """A server that lists the folder."""
    with _process(_HTTP, str(folder), str(Path(__file__).parent.parent)) as url:
        yield url


@contextlib.contextmanager
def in_memory(folder: Path, work: Path) -> Iterator[str]:
    """fsspec's file system in the memory of this process."""
    import fsspec

    fsspec.filesystem("memory").put(str(folder), "/images", recursive=True)
    yield "memory://images"


@contextlib.contextmanager
def in_s3(folder: Path, work: Path) -> Iterator[str]:
    """A bucket of a server that speaks S3; its own work on an object takes milliseconds."""
    import boto3

    with _process(_S3) as url:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }
        client = boto3.client("s3")
        client.create_bucket(Bucket="images")

        def put(file: Path) -> None:
            client.put_object(
                Bucket="images", Key=file.relative_to(folder).as_posix(), Body=file.read_bytes()
            )

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, (file for file in folder.rglob("*") if file.is_file())))
        yield "s3://images"
