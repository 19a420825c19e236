"""Servers that mean harm: what they answer ends in a named failure, in bounded time and memory."""

from __future__ import annotations

import contextlib
import gzip
import socketserver
import threading
import time
from http import HTTPStatus

import pytest

from featx.places import PlaceError
from featx.places.remote import RemoteFile, Retries, http_store, open_store, store
from featx.places.urls import is_of_machine, why_refused

pytest.importorskip("aiohttp")


class Server(socketserver.ThreadingTCPServer):
    """Answers every request by a function of its path and headers, which gives bytes or pieces of them."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.asked = answer, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request, client_address):
        """Clients hang up."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().decode()
        asked = [line, *iter(lambda: self.rfile.readline().decode().strip(), "")]
        self.server.asked.append(asked)
        made = self.server.answer(line.split()[1], asked)
        with contextlib.suppress(OSError):
            for piece in [made] if isinstance(made, bytes) else made:
                self.wfile.write(piece)


@contextlib.contextmanager
def answering(answer):
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def said(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    monkeypatch.setattr(store, "RETRIES", Retries(tries=2, sleep=lambda seconds: None))


def why(answer, read):
    with answering(answer) as server, pytest.raises(PlaceError) as caught:
        read(RemoteFile(server.url + "a.png"))
    return str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "//169.254.169.254/x",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.google.internal./x",
    ],
)
def test_a_redirection_to_the_credentials_of_a_machine_is_not_followed(target):
    reason = why(lambda path, asked: said(302, Location=target), lambda file: file.read(100))
    assert "redirected to an address that only this machine reaches" in reason


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "data:,x"])
def test_a_redirection_to_another_protocol_is_not_followed(target):
    reason = why(lambda path, asked: said(301, Location=target), lambda file: file.read(100))
    assert "redirected" in reason or "valid URL" in reason
    assert "passwd" not in reason


def test_redirections_and_interim_answers_without_end(monkeypatch):
    reason = why(lambda path, asked: said(302, Location=path + "x"), lambda file: file.read(100))
    assert "redirected again and again" in reason

    def waiting(path, asked):
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n"
            time.sleep(0.02)

    monkeypatch.setattr(store, "CONNECT", 0.1)
    monkeypatch.setattr(store, "STALLED", 0.05)
    assert "no answer in time" in why(waiting, lambda file: file.read(100))


def test_headers_without_end():
    def endless(path, asked):
        yield b"HTTP/1.1 200 OK\r\n"
        for number in range(10**6):
            yield f"X-{number}: {'y' * 4000}\r\n".encode()

    assert "cannot be read" in why(endless, lambda file: file.read(100))


def test_a_body_without_end_or_of_one_byte_at_a_time(monkeypatch):
    def endless(path, asked):
        yield said(200)
        while True:
            yield bytes(2**16)

    assert "more bytes, expected at most 100,000" in why(endless, lambda file: file.read(100_000))

    def slow(path, asked):
        yield said(200, Content_Length=1000)
        while True:
            yield b"x"
            time.sleep(0.02)

    monkeypatch.setattr(store, "STALLED", 0.1)
    assert "its bytes come too slowly; tried 2 times" in why(slow, lambda file: file.read(1000))


def test_a_range_has_no_more_bytes_than_were_asked_for():
    def more(path, asked):
        yield said(206, Content_Range="bytes 0-9/100")
        for _ in range(10_000):
            yield bytes(2**16)

    assert "expected at most 10" in why(more, lambda file: file.read_range(0, 10))


@pytest.mark.parametrize("given", ["bytes 5-14/100", "bytes x-y/z", "", "bytes 0-9/" + "9" * 5000])
def test_another_range_is_a_failure(given):
    reason = why(
        lambda path, asked: said(206, b"0123456789", Content_Range=given), lambda file: file.read_range(0, 10)
    )
    assert reason.startswith("cannot be read")


def test_compressed_bytes_that_unpack_to_very_much():
    packed = gzip.compress(bytes(2**26))
    reason = why(
        lambda path, asked: said(200, packed, Content_Encoding="gzip"), lambda file: file.read(2**20)
    )
    assert "expected at most 1,048,576" in reason


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"\udcff\udcfe"'},
        {"ETag": '"' + "e" * 7000 + '"'},
        {"Last_Modified": "Mon, 01 Jan 0001 00:00:00 -0000", "Date": "x"},
        {"Last_Modified": "Mon, 99 Foo 99999 99:00:00"},
        {"Content_Encoding": "identity", "Content_Length": "9" * 400},
    ],
)
def test_strange_headers_do_no_harm(headers):
    with answering(lambda path, asked: said(200, b"abc", **headers)) as server:
        file = RemoteFile(server.url + "a.png")
        with contextlib.suppress(PlaceError):
            assert file.read(100) == b"abc"
        key = file.stat_key()
        if key is not None:
            assert key[0].encode("utf-8")
            assert len(key[0]) < 300
            assert 0 <= key[1] < 2**63


def page(*links):
    return "".join(f'<a href="{link}">x</a>' for link in links).encode()


def test_a_listing_stays_in_its_folder(monkeypatch):
    links = (
        "a.png", "../b.png", "%2e%2e/c.png", "d/%2e%2e/%2e%2e/e.png", "..%2f..%2ff.png", "..%5cg.png",
        "h%00.png", "/i.png", "//other/x/j.png", "javascript:alert(1)", "k.png?token=x", "http://[", "",
        "file:///etc/passwd",
    )  # fmt: skip
    with answering(lambda path, asked: said(200, page(*links), Content_Type="text/html")) as server:
        listing = open_store(server.url).list_all(server.url + "x/")
    assert [path for path, _ in listing] == ["a.png"]


def test_a_listing_without_end_is_refused(monkeypatch):
    answer = said(200, page("deeper/", "a.png"), Content_Type="text/html")
    with answering(lambda path, asked: answer) as server, pytest.raises(PlaceError, match="without end"):
        open_store(server.url).list_all(server.url + "x/")
    monkeypatch.setattr(http_store, "_MOST_PAGES", 20)

    def wide(path, asked):
        return said(200, page(*[f"{i}/" for i in range(4)]), Content_Type="text/html")

    with answering(wide) as server, pytest.raises(PlaceError, match="without end"):
        open_store(server.url).list_all(server.url + "x/")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.43518", "0xA9FEA9FE", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]",
        "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "\uff11\uff16\uff19.254.169.254",
        "169%2e254%2e169%2e254",
        "169\u3002254\u3002169\u3002254", "METADATA.google.internal.", "user@169.254.169.254",
    ],
)  # fmt: skip
def test_the_address_of_credentials_in_any_form_is_refused(host):
    assert is_of_machine(f"http://{host}/x")
    assert why_refused(f"https://{host}:80/x")


@pytest.mark.parametrize("protocol", ["git", "asynclocal", "reference", "simplecache", "zip", "file", "dir"])
def test_a_table_names_no_file_system_of_this_machine(protocol):
    assert why_refused(f"{protocol}://etc/passwd")
    assert not is_of_machine(f"{protocol}://etc/passwd")


def test_other_hosts_are_not_refused():
    for url in (
        "http://[",
        "http://example.org/1",
        "http://10.0.0.1/a",
        "s3://169.254.169.254/x",
        "http:///a",
    ):
        assert not why_refused(url)
