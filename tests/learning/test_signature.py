"""Signatures of bundles: they cover every file, count only for trusted keys, and a damaged one is an error."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from kras_plugins import ConfigError, StoreError
from kras_plugins.learning.seal import check_seal, seal
from kras_plugins.learning.signature import (
    Signature,
    key_folder,
    make_key,
    public_of,
    read_signature,
    require_trusted,
    sign,
    trusted_keys,
)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed folder on a machine that trusts nobody yet."""
    monkeypatch.setenv("KRAS_CONFIG", str(tmp_path / "config"))
    (tmp_path / "bundle" / "models").mkdir(parents=True)
    for name in ("bundle.json", "models/model.txt"):
        (tmp_path / "bundle" / name).write_text(name)
    seal(tmp_path / "bundle")
    return tmp_path / "bundle"


def trust(public: Path, name: str) -> None:
    key_folder().mkdir(parents=True, exist_ok=True)
    shutil.copy(public, key_folder() / f"{name}.pub")


def found(bundle: Path) -> Signature | None:
    return read_signature(bundle, check_seal(bundle))


def test_a_signature_changes_no_digest_and_is_trusted_by_the_name_of_its_key(bundle: Path, tmp_path: Path) -> None:
    key, before = make_key(tmp_path / "me"), check_seal(bundle)
    assert found(bundle) is None
    assert sign(bundle, tmp_path / "me") == Signature(key=key, trusted=None) == found(bundle)
    assert check_seal(bundle) == before
    trust(public_of(tmp_path / "me"), "lab")
    assert require_trusted(bundle, found(bundle)) == Signature(key=key, trusted="lab")
    assert trusted_keys() == {"lab": key}


def test_no_signature_and_that_of_a_stranger_do_not_do(bundle: Path, tmp_path: Path) -> None:
    for name in ("me", "stranger"):
        make_key(tmp_path / name)
    trust(public_of(tmp_path / "me"), "me")
    with pytest.raises(StoreError, match="it is not signed") as unsigned:
        require_trusted(bundle, found(bundle))
    assert "bundle sign" in (unsigned.value.hint or "") and "key" not in (unsigned.value.hint or "")
    sign(bundle, tmp_path / "stranger")
    with pytest.raises(StoreError, match="the key [0-9a-f]{16} that signed it is not trusted"):
        require_trusted(bundle, found(bundle))


@pytest.mark.parametrize("name", ["bundle.json", "models/model.txt", "models/more.txt"])
def test_a_bundle_that_was_changed_and_sealed_anew_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    make_key(tmp_path / "me")
    sign(bundle, tmp_path / "me")
    (bundle / name).write_text("other")
    seal(bundle)
    with pytest.raises(StoreError, match=r"signature\.json is the signature of other content"):
        found(bundle)


def test_a_key_of_another_cannot_be_put_in_place(bundle: Path, tmp_path: Path) -> None:
    for name in ("me", "stranger"):
        make_key(tmp_path / name)
    sign(bundle, tmp_path / "me")
    mine = json.loads((bundle / "signature.json").read_text())
    sign(bundle, tmp_path / "stranger")
    theirs = json.loads((bundle / "signature.json").read_text())
    (bundle / "signature.json").write_text(json.dumps(theirs | {"public_key": mine["public_key"]}))
    with pytest.raises(StoreError, match="signature of other content"):
        found(bundle)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"schema_version": 1}', '{"schema_version": 1, "public_key": 1, "signature": "0"}'],
)
def test_a_damaged_signature_is_one_error(bundle: Path, text: str) -> None:
    (bundle / "signature.json").write_text(text)
    with pytest.raises(StoreError, match=r"signature\.json"):
        found(bundle)


def test_a_link_for_a_signature_is_refused(bundle: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "me")
    sign(bundle, tmp_path / "me")
    shutil.move(bundle / "signature.json", tmp_path / "elsewhere")
    (bundle / "signature.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"signature\.json is a link"):
        check_seal(bundle)


def test_keys_are_the_owners_and_never_overwritten(bundle: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "me")
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o600
    before = (tmp_path / "me").read_bytes()
    with pytest.raises(ConfigError, match="cannot write the key"):
        make_key(tmp_path / "me")
    assert (tmp_path / "me").read_bytes() == before


def test_what_is_no_key_is_named(bundle: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "me")
    (tmp_path / "text").write_text("no key")
    for wrong in (tmp_path / "text", public_of(tmp_path / "me"), tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigError, match="not a private Ed25519 key"):
            sign(bundle, wrong)
    sign(bundle, tmp_path / "me")
    trust(tmp_path / "me", "private")  # given away by mistake
    with pytest.raises(ConfigError, match=r"private\.pub: not a public Ed25519 key"):
        found(bundle)
