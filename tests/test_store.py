"""The store: complete or absent, never half."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kras_plugins import store as store_module
from kras_plugins.errors import StoreError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.store import Key, Store, make_key, safe_name


def writer(text: str):  # type: ignore[no-untyped-def]
    def build(folder: Path) -> None:
        (folder / "value.txt").write_text(text)

    return build


def test_a_result_is_made_once_and_found_again(tmp_path: Path) -> None:
    store, key = Store(tmp_path), make_key("bag", slide="a")
    made = store.make(key, writer("1"))
    again = store.make(key, writer("2"))
    assert made == again
    assert (again / "value.txt").read_text() == "1"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store, key = Store(tmp_path), make_key("bag", slide="a")

    def build(folder: Path) -> None:
        (folder / "half.txt").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.make(key, build)
    assert store.find(key) is None
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_a_full_disk_is_a_store_error_that_names_the_folder(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match="No space left") as e:
        Store(tmp_path).make(make_key("bag", slide="a"), build)
    assert str(tmp_path) in e.value.message


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "file").make(make_key("bag", slide="a"), writer("1"))


def test_what_a_killed_prune_left_is_made_anew(tmp_path: Path) -> None:
    store, key = Store(tmp_path), make_key("bag", slide="a")
    (store.make(key, writer("1")) / "key.json").unlink()
    assert (store.make(key, writer("2")) / "value.txt").read_text() == "2"


def test_two_threads_making_one_result_agree(tmp_path: Path) -> None:
    store, key, barrier = Store(tmp_path), make_key("bag", slide="a"), threading.Barrier(2)
    found: list[Path] = []

    def build(folder: Path) -> None:
        barrier.wait(10)
        (folder / "value.txt").write_text("same")

    threads = [threading.Thread(target=lambda: found.append(store.make(key, build))) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert found[0] == found[1]
    assert len(list(store.entries())) == 1


def stored(root: Path) -> tuple[Store, Key, Path]:
    """An artifact of three files, one of them deeper, as another process finds it."""

    def build(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text("a")
        (folder / "value.txt").write_text("right")

    key = make_key("bag", slide="a")
    folder = Store(root).make(key, build)
    store_module._whole.clear()
    return Store(root), key, folder


@pytest.mark.parametrize("name", ["value.txt", "deep/a.txt", "key.json"])
def test_an_artifact_in_which_a_bit_was_changed_is_made_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for at in range(0, (stored(tmp_path / "size")[2] / name).stat().st_size, 7):
        store, key, folder = stored(tmp_path / str(at))
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 4
        (folder / name).write_bytes(data)
        assert (store.make(key, writer("right")) / "value.txt").read_text() == "right"
        if name != "key.json":
            assert f"{name} has changed since it was written" in caplog.messages[0]
        if caplog.records:  # of key.json, that there are digests may be what was changed
            assert not (folder / "deep").exists()
        caplog.clear()
        assert list((tmp_path / str(at) / "tmp").iterdir()) == []


def test_an_artifact_that_lost_a_file_is_not_found(tmp_path: Path) -> None:
    store, key, folder = stored(tmp_path)
    (folder / "value.txt").unlink()
    assert store.find(key) is None and store.at(key.digest) is None


def test_an_artifact_is_looked_at_once_a_process(tmp_path: Path) -> None:
    store, key, folder = stored(tmp_path)
    assert store.find(key) == folder
    (folder / "value.txt").write_text("later")
    assert store.find(key) == folder


def test_an_artifact_of_an_earlier_kras_is_taken_as_it_is(tmp_path: Path) -> None:
    store, key, folder = stored(tmp_path)
    stated = json.loads((folder / "key.json").read_text())
    del stated["files"]
    (folder / "key.json").write_text(json.dumps(stated))
    assert store.find(key) == folder


def test_a_damaged_artifact_can_be_listed_pruned_and_goes_with_what_is_forgotten(tmp_path: Path) -> None:
    for remove in (lambda s: s.prune(older_than_days=1), lambda s: s.remove_made_from({"another"})):
        store, _, folder = stored(tmp_path)
        (folder / "key.json").write_text("{")
        os.utime(folder / "key.json", (0, 0))
        assert [entry.kind for entry in store.entries()] == ["damaged"]
        remove(store)
        assert not folder.exists()


facts = st.dictionaries(st.text(min_size=1, max_size=3), st.integers() | st.text(max_size=3), max_size=4)


@given(facts, facts)
def test_keys_are_equal_exactly_when_their_facts_are(a: dict[str, object], b: dict[str, object]) -> None:
    shuffled = dict(reversed(a.items()))
    assert make_key("x", facts=a).digest == make_key("x", facts=shuffled).digest
    assert (make_key("x", facts=a).digest == make_key("x", facts=b).digest) == (a == b)
    assert make_key("x", facts=a).digest != make_key("y", facts=a).digest


def test_prune_removes_the_longest_unused_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = [store.make(make_key("bag", n=n), writer("x" * 1000)) for n in range(3)]
    for age, folder in zip((300, 200, 100), folders, strict=True):
        stamp = (folder / "key.json").stat().st_mtime - age
        os.utime(folder / "key.json", (stamp, stamp))
    one = next(store.entries()).bytes
    removed = store.prune(max_bytes=int(1.5 * one))
    assert [e.path for e in removed] == folders[:2]
    assert store.find(make_key("bag", n=2)) is not None


def test_an_interrupted_write_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.json"
    write_atomic(file, "old")

    def fail(self: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(StoreError, match="No space left"):
        write_atomic(file, "new")
    monkeypatch.undo()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("identifier", "begins"),
    [
        ("Müller 12", "Muller_12-"),
        ("Mu\u0308ller 12", "Muller_12-"),
        ("Łódź/ß", "Lodz_ss-"),
        ("(7)", "7-"),
        ("../../etc", "etc-"),
        ("患者 3", "3-"),
        ("", "unnamed-"),
        ("\ud800", "unnamed-"),
    ],
)
def test_file_names_stay_readable_where_an_id_had_to_be_changed(identifier: str, begins: str) -> None:
    assert re.fullmatch(re.escape(begins) + "[0-9a-f]{8}", safe_name(identifier))


@given(st.text(), st.text())
def test_a_file_name_is_valid_everywhere_and_tells_ids_apart(a: str, b: str) -> None:
    assert re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,89}(?<!\.)", safe_name(a))
    assert (safe_name(a) == safe_name(b)) == (a == b)


@given(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,78}[A-Za-z0-9_-]", fullmatch=True))
def test_an_id_that_is_a_file_name_stays_as_it_is(identifier: str) -> None:
    assert safe_name(identifier) == identifier


def test_what_was_made_from_a_slide_goes_with_what_was_made_from_that_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tissue, other = (make_key("tissue", slide=name) for name in ("one", "one-2"))
    found = make_key("map", tissue=tissue.digest, part={"name": "cells"})
    for key in (tissue, other, found, make_key("profile", map=found.digest), make_key("place", slide="one")):
        store.make(key, writer("x"))
    assert store.remove_made_from({"one"}) == 4
    assert [e.path for e in store.entries()] == [store.at(other.digest)]
    assert store.remove_made_from({"one"}) == 0
    assert store.remove_made_from({other.digest}) == 1
