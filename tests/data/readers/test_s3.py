"""Data in S3, as a server on this machine serves it: rows of the folder, states of listings, failures."""

from __future__ import annotations

import logging
import warnings

import boto3
import numpy as np
import pytest
from fsspec.config import conf
from moto.server import ThreadedMotoServer
from pictures import QUICK, write_photos

from featx import extract, load_dataset
from featx.errors import DatasetError
from featx.places import PlaceError
from featx.places.remote import RemoteFile, Retries, open_store, opening, store

BUCKET = "shelf"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("s3") / "photos", 4)


@pytest.fixture(scope="module")
def endpoint(root):
    """The URL of a server with the photos in a bucket, and a client of it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the server's own code
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        client.create_bucket(Bucket=BUCKET)
        for file in root.rglob("*.png"):
            key = f"photos/{file.relative_to(root).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
        yield url, client
        server.stop()
    opening._stores.clear()


@pytest.fixture
def s3(endpoint, monkeypatch):
    """A client of the bucket; featx finds the server by fsspec's settings."""
    url, client = endpoint
    monkeypatch.setitem(conf, "s3", {"endpoint_url": url, "key": "k", "secret": "s"})
    monkeypatch.setattr(store, "RETRIES", Retries(tries=2, sleep=lambda seconds: None))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return client


@pytest.fixture
def no_stores(monkeypatch):
    """Stores of other tests are not known."""
    monkeypatch.setattr(opening, "_stores", {})


def test_rows_are_those_of_the_folder_and_states_come_from_the_listing(s3, root, tmp_path, monkeypatch):
    here = extract(root, **QUICK, cache=tmp_path / "other")
    there = extract(f"s3://{BUCKET}/photos/", **QUICK, cache=tmp_path / "c")
    np.testing.assert_array_equal(here.embeddings, there.embeddings)
    assert list(here.ids) == list(there.ids)
    # Neither a request for a state nor one for content is made again.
    for name in ("_look", "_fetch"):
        monkeypatch.setattr(f"featx.places.remote.s3_store.S3Store.{name}", None)
    again = extract(f"s3://{BUCKET}/photos", **QUICK, cache=tmp_path / "c")
    assert again.run["computed"] == 0


def test_an_object_and_its_ranges(s3, root):
    data = (root / "sky" / "000.png").read_bytes()
    file = RemoteFile(f"s3://{BUCKET}/photos/sky/000.png")
    assert file.read(10**6) == data
    assert file.read_range(5, 20) == data[5:25]
    assert file.size == len(data)
    name, size, *_ = file.stat_key()
    assert name.startswith(f"s3://{BUCKET}/photos/sky/000.png\0")
    assert size == len(data)
    with pytest.raises(PlaceError, match="ends early"):
        file.read_range(len(data) + 1, 5)
    with pytest.raises(PlaceError, match="expected at most 10"):
        file.read(10)


def test_an_object_that_changes_after_the_listing(s3):
    s3.put_object(Bucket=BUCKET, Key="live/a.bin", Body=b"old")
    listing = open_store(f"s3://{BUCKET}").list_all(f"s3://{BUCKET}/live")
    ((path, whole), (_, part)) = listing[0], listing[0]
    assert path == "a.bin"
    assert whole.stat_key() is not None
    s3.put_object(Bucket=BUCKET, Key="live/a.bin", Body=b"newer")
    assert whole.read(100) == b"newer"
    assert whole.stat_key() is None
    with pytest.raises(PlaceError, match="was changed since it was listed"):
        part.read_range(0, 2)


def test_one_image_and_a_table(s3, root):
    rows = "\n".join(f"sky/00{i}.png,{'ab'[i % 2]}" for i in range(4))
    s3.put_object(Bucket=BUCKET, Key="photos/t.csv", Body=f"path,label\n{rows}\n".encode())
    try:
        dataset = load_dataset(f"s3://{BUCKET}/photos/t.csv")
    finally:
        s3.delete_object(Bucket=BUCKET, Key="photos/t.csv")
    (one,) = load_dataset(f"s3://{BUCKET}/photos/sky/001.png").inputs
    assert dataset.inputs[1].read().digest == one.read().digest


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://no-such-bucket/photos/", "no such (bucket|object)"),
        (f"s3://{BUCKET}/nothing/", "no such object"),
        (f"s3://{BUCKET}/nothing.csv", "no such object"),
        (f"s3://{BUCKET}/nothing.zip", "no such object"),
    ],
)
def test_what_is_not_there(s3, url, reason):
    with pytest.raises(DatasetError, match=f"^{url}: {reason}"):
        load_dataset(url)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("ExpiredToken", 400, "the credentials have expired; sign in again"),
        ("InvalidAccessKeyId", 403, "the access key is not known"),
        ("AccessDenied", 403, "access denied"),
        ("SlowDown", 503, r"the server answers SlowDown; tried 2 times"),
        ("Strange", 500, r"the server answers 500 internal error; tried 2 times"),
        ("Strange", 418, "the server answers 418"),
    ],
)
def test_errors_are_read_aloud(s3, monkeypatch, code, status, reason):
    from botocore.exceptions import ClientError

    async def fail(*args, **kwargs):
        about = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}}
        raise ClientError(about, "GetObject")

    file = RemoteFile(f"s3://{BUCKET}/photos/sky/000.png")
    monkeypatch.setattr(open_store(file.url).fs, "_call_s3", fail)
    with pytest.raises(PlaceError, match=reason):
        file.read(10**6)


def test_without_credentials_it_says_what_to_set(s3, no_stores, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(conf, "s3", {"endpoint_url": conf["s3"]["endpoint_url"]})
    with pytest.raises(PlaceError, match="no credentials for S3 found: set AWS_PROFILE"):
        RemoteFile(f"s3://{BUCKET}/photos/sky/000.png").read(10**6)


def test_no_server(s3, no_stores, monkeypatch):
    monkeypatch.setitem(conf, "s3", {"endpoint_url": "http://127.0.0.1:9", "key": "k", "secret": "s"})
    with pytest.raises(PlaceError, match=r"\(connection refused.*; tried 2 times\)"):
        RemoteFile(f"s3://{BUCKET}/photos/sky/000.png").read(10**6)
