"""Addresses: what they name is kept, whose they are is not shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.urls import Url, place, redacted_values, without_credentials

SIGNED = (
    "https://me:hunter2@host.org:8443/a%20b/slide.svs?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=5ec2e7&versionId=7#x"
)


def test_a_signed_address_shows_neither_user_nor_signature() -> None:
    shown = str(Url(SIGNED))
    assert shown.startswith("https://host.org:8443/a%20b/slide.svs?")
    assert not [secret for secret in ("me:", "hunter2", "AKIA", "5ec2e7") if secret in shown + repr(Url(SIGNED))]
    assert "versionId=7" in shown


def test_the_parts_of_an_address() -> None:
    assert (Url(SIGNED).key, Url(SIGNED).name) == ("a b/slide.svs", "slide.svs")
    assert (Url("s3://bucket/a%20b?c.svs").key, Url("s3://bucket").key) == ("a%20b?c.svs", "")
    assert Url("https://h/x?sig=1").below("y/z").text == "https://h/x/y/z?sig=1"
    assert Url("s3://b/").below("y").text == "s3://b/y"


def test_a_worker_process_gets_the_whole_address() -> None:
    assert pickle.loads(pickle.dumps(Url(SIGNED))).text == SIGNED  # noqa: S301 - as multiprocessing does


@pytest.mark.parametrize("text", ["", "folder/file.svs", "/root/a", "C:\\slides", "s3", "https:", "a://"])
def test_what_is_no_address_is_a_path(text: str) -> None:
    assert place(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ftp://host/a", "ftp://"),
        ("file:///a", "file://"),
        ("s3:///key", "no host or bucket"),
        (str(Path("s3://bucket/key")), "made a Path"),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        place(text)


def test_credentials_go_from_any_text_and_nothing_else_does() -> None:
    text = "GET https://u:p@h/a?token=t1 failed; see s3://b/k, (http://h/b?flag) and mailto:me@h.org or a@b"
    assert without_credentials(text) == (
        "GET https://h/a?token=*** failed; see s3://b/k, (http://h/b?*** and mailto:me@h.org or a@b"
    )
    assert redacted_values({"a": ["https://u@h/", 1], "b": None}) == {"a": ["https://h/", 1], "b": None}


@settings(max_examples=50)
@given(st.text("aZ0 /@?&=#.-_<>'", max_size=40))
def test_text_without_an_address_stays_as_it_is(text: str) -> None:
    assert without_credentials(text) == text


@settings(max_examples=50)
@given(st.text("S0@:", min_size=3, max_size=9), st.sampled_from(["sig", "X-Goog-Signature", "AWSAccessKeyId", "x"]))
def test_no_secret_survives_being_shown_once_or_twice(secret: str, name: str) -> None:
    shown = without_credentials(f"'https://u:{secret}@h/p?id=7&{name}=S0{secret}'")
    assert shown == f"'https://h/p?id=7&{name}=***'"
    assert without_credentials(shown) == shown
