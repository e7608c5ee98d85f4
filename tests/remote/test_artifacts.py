"""A store on object storage: complete or absent, whoever makes, reads and removes, and copies here that are bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from range_server import Behavior, range_server

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.host.fitness import check_far_store
from kras_plugins.remote import artifacts as module
from kras_plugins.remote import copying
from kras_plugins.remote.artifacts import Artifacts
from kras_plugins.remote.copies import copies_of
from kras_plugins.remote.objects import Bucket
from kras_plugins.store import Key, Store, make_key
from kras_plugins.urls import Url


def build(folder: Path) -> None:
    (folder / "bag.h5").write_bytes(b"features" * 1000)
    (folder / "deep").mkdir()
    (folder / "deep" / "empty").write_bytes(b"")


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    """Go on as another machine, without copies."""
    monkeypatch.setenv("KRAS_LOCAL_CACHE", str(tmp_path / name))


def keys(url: Url) -> list[str]:
    return sorted(one.key for one in Bucket(url).list(url.key))


@pytest.fixture
def url(bucket: str) -> Url:
    return Url(f"{bucket}/a study/store")


KEY = make_key("bag", slide="a", part={"plugin": "x"})


def test_what_one_machine_makes_another_one_finds_byte_for_byte_as_in_a_folder(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Store(tmp_path / "folder").make(KEY, build)
    made = Store(url).make(KEY, build)
    elsewhere(monkeypatch, tmp_path)
    found = Store(url).find(KEY)
    assert found is not None and found.is_relative_to(tmp_path / "other")
    elsewhere(monkeypatch, tmp_path, "third")
    assert Store(url).has(KEY) and not Store(url).has(make_key("bag", slide="b"))
    assert not (tmp_path / "third").exists()  # asking copies nothing
    elsewhere(monkeypatch, tmp_path)
    assert files(found) == files(made) == files(folder)
    assert Store(url).at(KEY.digest) == found
    assert Store(url).find(make_key("bag", slide="b")) is None
    assert Store(url).make(KEY, lambda _: pytest.fail("made twice")) == found


def test_the_marker_is_written_last(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = Bucket.put
    monkeypatch.setattr(Bucket, "put", lambda self, key, *a, **k: (written.append(key), put(self, key, *a, **k))[1])
    Store(url).make(KEY, build)
    assert [key.rpartition("/")[2] for key in written] == ["bag.h5", "empty", "key.json"]


def test_a_maker_that_is_killed_in_mid_upload_leaves_nothing_that_is_found(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Bucket.put

    def killed(self: Bucket, key: str, *a: object, **k: object) -> None:
        if key.endswith("key.json"):
            raise KeyboardInterrupt
        put(self, key, *a, **k)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            Store(url).make(KEY, build)
    assert Store(url).find(KEY) is None and not list(Store(url).entries())
    assert len(keys(url)) == 2
    assert files(Store(url).make(KEY, build))["bag.h5"]
    monkeypatch.setattr(module, "_ORPHANED", timedelta(seconds=-5))
    Store(url).prune(older_than_days=1)
    assert len(keys(url)) == 3  # what no marker names is gone, what one names is there
    assert [e.kind for e in Store(url).entries()] == ["bag"]


MAKER = """
import sys, time
from pathlib import Path
from kras_plugins.store import Store, make_key
from kras_plugins.urls import place
store, key = Store(place(sys.argv[1])), make_key("bag", slide="raced")
def build(folder):
    (folder / "made").write_text("")
    print("building", flush=True)
    sys.stdin.readline()
    (folder / "value").write_bytes(bytes(range(256)) * 4096)
print(store.make(key, build), flush=True)
"""


def test_two_processes_that_make_one_artifact_do_no_harm(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = []
    for name in ("one", "two"):
        environment = os.environ | {"KRAS_LOCAL_CACHE": str(tmp_path / name)}
        words = [sys.executable, "-c", MAKER, url.text]
        makers.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    for maker in makers:  # both find nothing and build
        assert maker.stdout is not None and maker.stdout.readline() == "building\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    made = [maker.communicate(timeout=60)[0].strip() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    elsewhere(monkeypatch, tmp_path)
    store = Store(url)
    (entry,) = store.entries()
    found = store.find(make_key("bag", slide="raced"))
    assert found is not None
    assert files(found) == files(Path(made[0])) == files(Path(made[1]))
    assert entry.bytes == 256 * 4096
    assert len(keys(url)) == 3  # whoever was second took its upload away again


def test_makers_and_a_pruner_that_run_at_once_leave_whole_artifacts(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [make_key("bag", n=n) for n in range(3)]
    machines = []
    for name in ("pruner", "one", "two"):
        elsewhere(monkeypatch, tmp_path, name)
        machines.append(Store(url))

    def work(number: int) -> None:  # what is raised fails the test, as pytest looks after threads
        for turn in range(4):
            if number == 0:
                machines[0].prune(max_bytes=0)
            else:
                folder = machines[number].make(some[(turn + number) % 3], build)
                assert files(folder)["bag.h5"]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    far = Artifacts(url)
    for n, marker in enumerate(far.all()):
        (fresh := tmp_path / f"fetched-{n}").mkdir()
        assert far.fetch(marker, fresh)
        assert files(fresh)["bag.h5"] == b"features" * 1000


def test_a_store_may_be_a_whole_bucket(bucket: str) -> None:
    store = Store(Url(bucket))
    store.make(KEY, build)
    assert [e.kind for e in store.entries()] == ["bag"] and len(store.prune(max_bytes=0)) == 1


def test_prune_and_list_see_what_lies_there_and_not_the_copies(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(url)
    for n in range(3):
        store.make(make_key("bag" if n else "tissue", n=n), build)
    elsewhere(monkeypatch, tmp_path)
    other = Store(url)
    assert [(e.kind, e.bytes) for e in other.entries()].count(("bag", 8000)) == 2
    removed = other.prune(max_bytes=2 * 8000)
    assert len(removed) == 1 and len(list(other.entries())) == 2
    assert other.prune(older_than_days=1) == []
    assert len(other.prune(max_bytes=0)) == 2
    assert keys(url) == []


def test_an_artifact_in_use_is_noted_once_a_day_and_comes_back_where_it_was_removed(
    url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(url)
    store.make(KEY, build)
    far = Artifacts(url)
    before = far.find(KEY.digest)
    assert before is not None
    store.find(KEY)
    assert far.find(KEY.digest) == before  # used today: nothing is written
    monkeypatch.setattr(module, "_DAY", timedelta(seconds=-10))
    assert far.use(KEY.digest)
    assert (after := far.find(KEY.digest)) is not None and after.used >= before.used

    def forbidden(*_: object, **__: object) -> None:
        raise StoreError("these credentials may not do that")

    monkeypatch.setattr(Bucket, "put", forbidden)
    assert far.use(KEY.digest)  # a read-only bucket still works


def test_a_copy_that_outlived_its_artifact_is_uploaded_again(url: Url) -> None:
    store = Store(url)
    folder = store.make(KEY, build)
    far = Artifacts(url)
    marker = far.find(KEY.digest)
    assert marker is not None
    far.remove(marker)
    old = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(folder / "key.json", (old, old))
    assert store.find(KEY) == folder
    assert (again := far.find(KEY.digest)) is not None
    assert set(again.files) == set(marker.files) == {"bag.h5", "deep/empty"}


def test_copies_stay_within_their_bound_but_for_those_in_use(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRAS_LOCAL_CACHE_GB", "0.00003")  # three and a half artifacts
    store = Store(url)
    some = [make_key("map", n=n) for n in range(6)]
    folders = [store.make(key, build) for key in some]
    assert all((f / "key.json").is_file() for f in folders)  # they are held
    store.release(key.digest for key in some)
    store.make(make_key("map", n=6), build)
    copies = copies_of(url)
    assert copies.size() <= copies.bound
    assert not (folders[0] / "key.json").exists()
    assert files(store.at(some[0].digest) or tmp_path)["bag.h5"] == b"features" * 1000  # and comes back
    assert len(list(store.entries())) == 7


def test_a_damaged_file_is_told_and_not_used(url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(url).make(KEY, build)
    (bag,) = [key for key in keys(url) if key.endswith("bag.h5")]
    Bucket(url).put(bag, b"features" * 999 + b"featurez")
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(StoreError, match=r"bag\.h5 is damaged"):
        Store(url).find(KEY)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a\\..\\b", ""])
def test_a_marker_that_names_files_outside_of_its_folder_is_refused(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Store(url).make(KEY, build)
    (marker,) = [key for key in keys(url) if key.endswith("key.json")]
    stated = json.loads(Bucket(url).get(marker)[1])
    stated["files"] = {name: {"bytes": 0, "sha256": ""}}
    Bucket(url).put(marker, json.dumps(stated).encode())
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(StoreError, match="not an artifact of kras"):
        Store(url).find(KEY)


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(StoreError, match="there is no such bucket") as e:
        Store(Url("s3://kras-no-such-bucket/x")).find(KEY)
    assert "s3://kras-no-such-bucket" in e.value.message


def test_the_check_of_the_machine_writes_to_the_bucket_to_find_out(url: Url) -> None:
    assert check_far_store(url).state == "ok" and keys(url) == []
    assert "no such bucket" in (check := check_far_store(Url("s3://kras-none"))).found and check.state == "fail"
    assert check_far_store(Url("https://localhost/store?sig=S3CRET")).state == "warn"


def test_a_web_server_gives_a_store_that_is_only_read(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(url).make(KEY, build)
    for key in keys(url):
        file = tmp_path / "served" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(Bucket(url).get(key)[1])
    with range_server(tmp_path / "served") as (address, behavior):
        served = Url(f"{address}/a%20study/store?sig=S3CRET")
        elsewhere(monkeypatch, tmp_path)
        found = Store(served).find(KEY)
        assert found is not None and files(found)["bag.h5"] == b"features" * 1000
        assert Store(served).make(make_key("bag", slide="new"), build).is_dir()
        assert {method for method, *_ in behavior.asked} == {"GET"}
        assert all(path.endswith("?sig=S3CRET") for _, path, *_ in behavior.asked)
        with pytest.raises(StoreError, match="does not list") as e:
            list(Store(served).entries())
        assert "S3CRET" not in str(e.value)


def test_an_empty_file_is_taken_from_a_server_that_calls_it_a_range(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with range_server(tmp_path, Behavior(empty_as_range=True)) as (address, _):
        assert copying.download(Bucket(Url(address)), "empty", tmp_path / "copy") == 0
    assert (tmp_path / "copy").read_bytes() == b""


def test_a_bound_that_is_no_number_is_refused(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRAS_LOCAL_CACHE_GB", "many")
    with pytest.raises(ConfigError, match="KRAS_LOCAL_CACHE_GB=many"):
        Store(url)


def test_a_store_that_is_only_of_this_machine_uploads_nothing(url: Url) -> None:
    Store(url).here.make(make_key("place", slide="x"), build)
    assert keys(url) == []


def test_a_key_of_another_kind_is_another_artifact(url: Url) -> None:
    store = Store(url)
    assert store.make(Key("a", "{}"), build) != store.make(Key("b", "{}"), build)
    assert len(list(store.entries())) == 2


def test_an_object_of_many_parts_comes_whole_and_tells_how_far_it_is(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PART", 1000)
    content = os.urandom(4500)
    Bucket(url).put("large", content)
    told: list[tuple[int, int]] = []
    assert copying.download(Bucket(url), "large", tmp_path / "copy", lambda *both: told.append(both)) == 4500
    assert (tmp_path / "copy").read_bytes() == content
    assert told[0] == (1000, 4500) and told[-1] == (4500, 4500) and told == sorted(told)
