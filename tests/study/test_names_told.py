"""Pseudonyms and keys as tried by somebody who did not write them."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from kras_plugins import study
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.learning.seal import seal
from kras_plugins.learning.signature import key_folder, make_key, sign, trusted_keys
from kras_plugins.study.pseudonyms import Names


@pytest.mark.parametrize("name", ['O\'Neil "Ann"', "Ann\x01Meier", "Ann\\Meier", "Anna Meier"])
def test_a_name_that_an_error_quotes_is_hidden(tmp_path: Path, name: str) -> None:
    cohort = tmp_path / "cohort.csv"
    cell = name.replace('"', '""')
    cohort.write_text(f'patient_id,slide_id\n"{cell}",S-0001\n')
    names = Names(tmp_path / "who.json")
    names.begin(tmp_path / "out", [cohort])
    told = names.hide(f"line 2: {name!r} and {name}")
    assert "Ann" not in told and told.count("id-") == 2


@pytest.mark.parametrize("inside", ["who.json", "models/who.json"])
def test_who_is_who_does_not_lie_in_the_bundle(tmp_path: Path, inside: str) -> None:
    bundle = tmp_path / "bundle"
    with pytest.raises(ConfigError, match="would reveal its names"):
        Names(bundle / inside).begin(tmp_path / "out", [], bundle)
    assert not bundle.exists()


@pytest.mark.parametrize("content", ["[" * 100_000, "{", '{"key": 1}', "[]"], ids=["deep", "cut", "number", "list"])
def test_a_damaged_file_of_pseudonyms_is_one_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "who.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        Names(file).begin(tmp_path / "out", [])
    assert file.read_text() == content


def test_no_private_key_is_left_where_the_public_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("somebody's")
    with pytest.raises(ConfigError, match="File exists"):
        make_key(tmp_path / "key")
    assert not (tmp_path / "key").exists() and (tmp_path / "key.pub").read_text() == "somebody's"


@pytest.mark.parametrize("again", [".", "deep", "deep/S24-0815 Meier.tiff"])
def test_a_slide_that_is_given_twice_by_its_folder_is_not_named(tmp_path: Path, again: str) -> None:
    slide = tmp_path / "in/deep/S24-0815 Meier.tiff"
    slide.parent.mkdir(parents=True)
    slide.write_bytes(b"x")
    settings = study.StudySettings(extractor="vit", pseudonyms=tmp_path / "who.json")
    with pytest.raises(ConfigError, match="is given 2 times") as caught:
        study.embed([tmp_path / "in", tmp_path / "in" / again], settings, out=tmp_path / "out")
    assert "Meier" not in str(caught.value)


def test_a_file_name_that_is_no_text_is_one_error_without_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/M\xfcller.tiff", "wb") as f:
        f.write(b"II*")
    with pytest.raises(UsageError, match="contains a slide whose name is not UTF-8") as e:
        study.embed(tmp_path / "in", study.StudySettings(cache=tmp_path / "store"), out=tmp_path / "out")
    assert "ller" not in str(e.value)


def test_what_file_browsers_leave_beside_keys_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRAS_CONFIG", str(tmp_path))
    key_folder().mkdir(parents=True)
    make_key(tmp_path / "lab")
    (key_folder() / "lab.pub").write_bytes((tmp_path / "lab.pub").read_bytes())
    (key_folder() / "._lab.pub").write_bytes(b"\0\5\x16\7")
    assert list(trusted_keys()) == ["lab"]


def test_a_secret_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    who, key, bundle = tmp_path / "who.json", tmp_path / "lab", tmp_path / "bundle"
    Names(who).begin(tmp_path / "out", [])
    make_key(key)
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    seal(bundle)
    for mode, readable in ((0o644, True), (0o640, True), (0o604, True), (0o600, False), (0o400, False)):
        for secret, use in ((who, lambda: Names(who).begin(tmp_path / "out", [])), (key, lambda: sign(bundle, key))):
            secret.chmod(mode)
            with pytest.raises(ConfigError, match="others can read it") if readable else nullcontext() as e:
                use()
            assert not readable or e.value.hint == f"chmod 600 {secret}"
