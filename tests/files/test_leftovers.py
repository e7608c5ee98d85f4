"""What a killed process left incomplete is removed when the next one starts; the work of a live one stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from quick_study import quick
from safetensors.numpy import save_file

from kras_plugins.errors import StoreError
from kras_plugins.files import leftovers
from kras_plugins.files.atomic import share, write_atomic
from kras_plugins.files.leftovers import clear_dead, clear_old, clear_parts, part_of, scratch, work_folder
from kras_plugins.store import Store, make_key
from kras_plugins.study.session import opened

MAKING = """
import sys
from pathlib import Path
from kras_plugins.store import Store, make_key

def build(folder):
    (folder / "half.txt").write_text("x" * 1000)
    print("begun", flush=True)
    sys.stdin.read()

Store(Path(sys.argv[1])).make(make_key("bag", slide="a"), build)
"""


@contextmanager
def making(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of an artifact."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKING, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield process
        finally:
            process.kill()


def left(store: Path) -> list[str]:
    return sorted(f.name for f in (store / "tmp").rglob("*"))


def test_the_next_start_clears_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    with making(tmp_path) as dead, making(tmp_path) as alive:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert left(tmp_path).count("half.txt") == 2
        with opened(quick(tmp_path, tmp_path)):
            assert left(tmp_path).count("half.txt") == 1
        Store(tmp_path).clear_dead()
        Store(tmp_path).prune(max_bytes=0)
        assert left(tmp_path).count("half.txt") == 1
        _, errors = alive.communicate("go on")
        assert alive.returncode == 0, errors
    assert Store(tmp_path).find(make_key("bag", slide="a")) is not None
    assert left(tmp_path) == []


def test_what_another_thread_of_this_process_works_on_stays(tmp_path: Path) -> None:
    with work_folder(tmp_path, "one") as folder:
        clear_dead(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_machine_goes_only_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setattr(leftovers, "_HOST", "another")
        with making_here(tmp_path) as folder:
            pass
    clear_dead(tmp_path)
    clear_old(tmp_path)
    assert folder.is_dir()
    week = folder.stat().st_mtime - 8 * 24 * 3600
    os.utime(folder, (week, week))
    clear_old(tmp_path)
    assert folder.is_dir()  # a file in it is new
    os.utime(folder / "half.txt", (week, week))
    clear_old(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_killed_before_or_after_it_had_a_folder_goes(tmp_path: Path) -> None:
    for name in (f"x-1@{leftovers._HOST}", "x-2@another"):
        leftovers._lock_of(tmp_path / name).touch()
    clear_dead(tmp_path)
    clear_old(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["x-2@another.lock"]
    os.utime(tmp_path / "x-2@another.lock", (0, 0))
    clear_old(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_lock_is_cleared_away_before_it_is_held_is_locked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(leftovers.FileLock):  # type: ignore[misc]
        cleared = False

        def _acquire(self) -> None:
            super()._acquire()
            if not Late.cleared:
                Late.cleared = True
                Path(self.lock_file).unlink()

    monkeypatch.setattr(leftovers, "FileLock", Late)
    with work_folder(tmp_path, "one") as folder:
        assert Late.cleared and leftovers._lock_of(folder).is_file()
        clear_dead(tmp_path)
        assert folder.is_dir()


@contextmanager
def making_here(below: Path) -> Iterator[Path]:
    """A work folder that is no longer locked."""
    folder = below / f"x-1@{leftovers._HOST}"
    folder.mkdir()
    (folder / "half.txt").touch()
    leftovers._lock_of(folder).touch()
    yield folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("umask", "wanted"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_all_files_of_an_artifact_are_as_the_umask_says(umask: int, wanted: int, tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "deep").mkdir()
        save_file(
            {"a": np.zeros(2)}, folder / "deep" / "network.safetensors"
        )  # through a file that only its owner can read
        (folder / "facts.json").write_text("{}")

    before = os.umask(umask)
    try:
        made = Store(tmp_path).make(make_key("fit", n=umask), build)
        write_atomic(tmp_path / "table.csv", "a")
    finally:
        os.umask(before)
    assert {mode(f) for f in made.rglob("*") if f.is_file()} == {wanted} == {mode(tmp_path / "table.csv")}


def test_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").touch(0o600)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "a").touch(0o644)
    share(tmp_path / "in", "a")
    assert mode(tmp_path / "outside") == 0o600


WRITING = """
import sys
from pathlib import Path
from kras_plugins.files.leftovers import part_of, scratch

with part_of(Path(sys.argv[1]) / "metrics.json", 0o666) as part, scratch("probe") as folder:
    part.write_text("{")
    (folder / "half.txt").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def writing(out: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process in the middle of a file, with a temporary folder."""
    run = [sys.executable, "-c", WRITING, str(out)]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        try:
            yield process, folder
        finally:
            process.kill()


def test_half_files_and_temporary_folders_of_killed_processes_go_and_those_of_living_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    (out := tmp_path / "out").mkdir()
    own = out / ".notes.part"
    own.touch()
    with writing(out) as (dead, gone), writing(out) as (alive, kept):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert len(list(out.glob(".metrics.json.*.part"))) == 2 and gone.is_dir()
        clear_parts(out)
        with scratch("another"):
            assert len(list(out.glob(".metrics.json.*.part"))) == 1
            assert not gone.exists() and (kept / "half.txt").exists()
        alive.communicate("go on")
        assert alive.returncode == 0
    assert list(out.iterdir()) == [own]
    assert [f for f in (tmp_path / "temporary").rglob("*") if f.is_file()] == []


def test_a_file_that_is_cleared_away_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, cleared = leftovers.hold, []

    def late(descriptor: int) -> bool:
        if not cleared:
            cleared.append(descriptor)
            clear_parts(tmp_path)
        return hold(descriptor)

    monkeypatch.setattr(leftovers, "hold", late)
    with part_of(tmp_path / "a.json", 0o600) as part:
        assert cleared and part.is_file() and mode(part) == 0o600
        clear_parts(tmp_path)
        part.replace(tmp_path / "a.json")
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_a_temporary_folder_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"kras-{os.getuid()}").mkdir()
    (tmp_path / f"kras-{os.getuid()}").chmod(0o777)
    with pytest.raises(StoreError, match="not a folder of yours alone"), scratch("probe"):
        pass
