"""What is a URL, what is shown of it, and which of them a table may name."""

from __future__ import annotations

import pytest

from featx.places import is_url, shown
from featx.places.urls import (
    hide_secrets,
    hides_more_than_a_signature,
    is_chained,
    join,
    parent_of,
    path_of,
    why_refused,
)


@pytest.mark.parametrize(
    "text", ["https://h/a.jpg", "s3://b/k", "HTTP://h", "simplecache::s3://b/k", "zip://a::http://h/b.zip"]
)
def test_a_url_is_told_by_its_form(text):
    assert is_url(text)


@pytest.mark.parametrize(
    "text", ["a.jpg", "C:/a.jpg", "C://a.jpg", "see https://h", "https:", None, 3, "//h/a"]
)
def test_anything_else_is_no_url(text):
    assert not is_url(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:secret@h.org:80/a%20b.jpg", "https://h.org:80/a%20b.jpg"),
        ("https://h/a?X-Amz-Signature=abc&X-Amz-Credential=k&id=5", "https://h/a?id=5"),
        ("https://h/a?sv=2020&se=2021&sr=b&sp=r&sig=abc", "https://h/a"),
        ("https://h/a?token=abc", "https://h/a"),
        ("https://h/a?access_token=abc&w=3", "https://h/a?w=3"),
        ("https://h/a?file=photos/1.jpg", "https://h/a?file=photos/1.jpg"),
        ("https://h/a.jpg#top", "https://h/a.jpg"),
        ("s3://key:secret@b/a?b#c.jpg", "s3://b/a?b#c.jpg"),
        ("zip://a.jpg::https://me:secret@h/b.zip", "zip://a.jpg::https://h/b.zip"),
    ],
)
def test_users_passwords_and_signatures_are_not_shown(url, expected):
    assert shown(url) == expected


def test_a_long_value_is_replaced_by_its_digest_so_that_urls_stay_distinct():
    first, second = (shown(f"https://h/a?k={letter * 40}") for letter in "ab")
    assert "aaaa" not in first
    assert first != second


def test_an_address_without_its_token_may_be_another_object():
    assert hides_more_than_a_signature("https://h/a?token=x")
    assert not hides_more_than_a_signature("https://h/a?X-Amz-Signature=x&id=3")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "names this machine"),
        ("local:///etc/passwd", "names this machine"),
        ("memory://a", "names this machine"),
        ("http://169.254.169.254/latest/meta-data", "only this machine reaches"),
        ("http://[fe80::1]/a.jpg", "only this machine reaches"),
        ("http://metadata.google.internal/x", "only this machine reaches"),
        ("simplecache::https://h/a.jpg", "a chain of file systems"),
        ("zip://a.jpg::https://h/b.zip", "a chain of file systems"),
        ("https://h/a.jpg", ""),
        ("s3://b/a::b.jpg", ""),
    ],
)
def test_a_table_may_not_name_this_machine(url, reason):
    refused = why_refused(url)
    assert reason in refused
    assert bool(reason) == bool(refused)


def test_chains_are_told_from_colons_in_names():
    assert is_chained("simplecache::s3://b/k")
    assert not is_chained("s3://b/a::b.jpg")


def test_paths_are_relative_to_the_folder_of_a_url():
    assert parent_of("https://me:pw@h/a/t.csv?sig=1") == "https://me:pw@h/a/"
    assert join("https://me:pw@h/a/", "b c/../d e.jpg") == "https://me:pw@h/a/d%20e.jpg"
    assert join("s3://b/a/", "x%20.jpg") == "s3://b/a/x%20.jpg"
    assert path_of("https://h/a%20b.csv?x=1") == "/a b.csv"


@pytest.mark.parametrize("path", ["../../x.jpg", "/etc/passwd"])
def test_paths_may_not_lead_out_of_a_bucket(path):
    with pytest.raises(ValueError, match="leads out of s3://b"):
        join("s3://b/a/", path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http:/me:pw@h:80/a: no such file", "http:/h:80/a: no such file"),
        ("not 's3://k:s@b/a', a@b.c", "not 's3://b/a', a@b.c"),
        (
            "https://h/a?id=3&X-Amz-Signature=abc&token=t: gone",
            "https://h/a?id=3&X-Amz-Signature=&token= gone",
        ),
        ("a mail to a@b.org, 3:/ and x://h/@y?z=1", "a mail to a@b.org, 3:/ and x://h/@y?z=1"),
    ],
)
def test_messages_hide_what_is_secret_in_urls(text, expected):
    assert hide_secrets(text) == expected
    hide_secrets("a://" + "b" * 50_000)  # in no time
    hide_secrets("a" * 50_000)
