"""A server of files on the loopback address that misbehaves as a test says."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit


class FileServer(ThreadingHTTPServer):
    """Serves a folder with listings, ETags and ranges.

    Attributes
    ----------
    script : dict
        For a path on the server, what happens at its next requests (GET, HEAD and others alike): a list of
        actions, of which each request takes the first. An action is a status, ``(status, headers)``,
        ``("page", html)``,
        ``"drop"`` (the connection ends in the middle of the body), ``"refuse"`` (before an answer),
        ``"long"`` (more bytes are announced than come), ``"stall"`` (nothing comes), or a function that is
        called before the right answer.
    asked : Counter
        Requests by (method, path).
    features : set
        What it can do: ``"range"``, ``"etag"``, ``"time"``, ``"listing"``.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.script: dict[str, list[object]] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.features = {"range", "etag", "time", "listing"}
        self.authorized: str | None = None  # the header that is asked for
        self.released = threading.Event()  # ends what stalls
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The URL of the root."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        """Clients hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms behind its headers
    wbufsize = -1
    server: FileServer

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def log_message(self, *args):
        """Say nothing."""

    def _answer(self, with_body):
        server, path = self.server, unquote(urlsplit(self.path).path)
        with server.lock:
            server.asked[self.command, path] += 1
            waiting = server.script.get(path)
            action = waiting.pop(0) if waiting else None
        if server.authorized and self.headers.get("Authorization") != server.authorized:
            self._status(401, {})
        elif isinstance(action, int):
            self._status(action, {})
        elif isinstance(action, tuple) and action[0] == "page":
            self._send(200, action[1], {"Content-Type": "text/html"}, with_body, None)
        elif isinstance(action, tuple):
            self._status(*action)
        elif action == "refuse":
            self._hang_up()
        elif action == "stall":
            server.released.wait(30)
            self._hang_up()
        else:
            if callable(action):
                action()
            self._file(server.root / path.lstrip("/"), with_body, action)

    def _status(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _hang_up(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _file(self, file, with_body, action):
        features = self.server.features
        if file.is_dir():
            if "listing" not in features or not self.path.endswith("/"):
                self._status(404 if "listing" not in features else 301, {"Location": self.path + "/"})
                return
            names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(file))
            links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in names)
            body = f'<html><a href="?C=M;O=D">Date</a><a href="../">up</a><ul>{links}</ul></html>'.encode()
            self._send(200, body, {"Content-Type": "text/html; charset=utf-8"}, with_body, action)
            return
        if not file.is_file():
            self._status(404, {})
            return
        body, changed = file.read_bytes(), file.stat().st_mtime
        headers = {"Content-Type": "application/octet-stream"}
        if "etag" in features:
            headers["ETag"] = f'"{hashlib.md5(body).hexdigest()}"'
        if "time" in features:
            headers["Last-Modified"] = email.utils.formatdate(changed, usegmt=True)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or "range" not in features:
            self._send(200, body, headers, with_body, action)
            return
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
        if start >= len(body):
            self._status(416, {})
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        self._send(206, body[start:end], headers, with_body, action)

    def _send(self, status, body, headers, with_body, action):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + 100 * (action == "long")))
        self.end_headers()
        if not with_body:
            return
        self.wfile.write(body[: len(body) // 2] if action == "drop" else body)
        if action in ("drop", "long"):
            self._hang_up()


@contextlib.contextmanager
def serving(root: Path) -> Iterator[FileServer]:
    """Serve a folder until the block ends."""
    with FileServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def make_old(folder: Path) -> None:
    """Set the times of all files back by an hour, so that no cache waits for them to settle."""
    for file in folder.rglob("*"):
        if file.is_file():
            changed = file.stat().st_mtime - 3600
            os.utime(file, (changed, changed))
