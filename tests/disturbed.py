"""What is done to a `kras` at work, and what must be true when the same command has run to its end afterwards.

A round disturbs one command several times, each time at a random moment, and resumes it. Then its outputs must be those
of a call that nobody disturbed, byte by byte, and nothing may be left: no process, lock, shared memory or half file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cohorts import environment
from forked_kras import Forked, Forks

PATIENCE = 600.0
"""Seconds for what takes some where nobody else works."""
ORPHAN_S = 60.0
"""So long a process may take to see that nobody waits for it."""

Rows = dict[str, Counter[str]]
"""Counts by disturbance: `times`, `equal`, `refused`, `lost`, `orphans`, `leftovers`."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A command, what it works on, and what it writes where nobody disturbs it.

    `words`: with `{home}` for the folder that it only reads; it writes `out` below the current folder. `store`: what is
    in the store before. `wanted`: sha256 of each output, None where two calls differ; `seconds`: how long it takes with
    an empty store, and with a full one; `bytes`: what it writes.
    """

    name: str
    words: tuple[str, ...]
    home: Path
    store: Path | None = None
    wanted: Mapping[str, str | None] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.0)
    bytes: int = 0


@dataclass(frozen=True)
class Place:
    """Where one round is: current folder with `out`, store, temporary files and home. `seen`: as tests find it."""

    folder: Path
    seen: Path

    @classmethod
    def made(cls, seen: Path, folder: Path | None = None, store: Path | None = None) -> Place:
        """A new one; `store`: what its store begins with, linked where it can be."""
        for name in ("store", "tmp", "home"):
            (seen / name).mkdir(parents=True)
        _laid(seen / "store", store)
        return cls(folder or seen, seen)

    def start(self, forks: Forks, study: Study, store: Path | None = None) -> Forked:
        """Begin the command; `store`: another than its own."""
        words = [word.replace("{home}", str(study.home)) for word in study.words]
        env = environment(store or self.folder / "store", TMPDIR=str(self.folder / "tmp"))
        env |= {"HOME": str(self.folder / "home"), "PYTHONUNBUFFERED": "1"}
        return forks.start([*words, "--out", "out"], self.folder, env)

    def left(self) -> list[str]:
        """What should not be there when everything has ended."""
        store = self.seen / "store"
        loose = [f for f in store.iterdir() if f.is_file() and f.name.startswith(".")]
        halves = list((self.seen / "out").rglob(".*.part"))
        scratch = [f for f in (self.seen / "tmp").rglob("*") if f.is_file()]
        found = [*(store / "tmp").rglob("*"), *loose, *halves, *scratch]
        return [str(f.relative_to(self.seen)) for f in found]


def outputs(folder: Path) -> dict[str, str]:
    """sha256 of each file of a folder."""
    files = (f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): sha256(f.read_bytes()).hexdigest() for f in files}


def learned(forks: Forks, study: Study, folder: Path) -> Study:
    """The study with what it writes undisturbed: run twice, then once more on a full store."""
    found, cold, warm = [], [], 0.0
    for number in range(2):
        place = Place.made(folder / f"{study.name}-{number}", store=study.store)
        cold.append(_ended_well(forks, place, study))
        found.append(outputs(place.seen / "out"))
    wrote = sum(f.stat().st_size for f in place.seen.rglob("*") if f.is_file())
    shutil.rmtree(place.seen / "out")
    warm = _ended_well(forks, place, study)
    first, second = found
    assert first.keys() == second.keys()
    wanted = {name: digest if second[name] == digest else None for name, digest in first.items()}
    return Study(
        name=study.name, words=study.words, home=study.home, store=study.store, wanted=wanted,
        seconds=(min(cold), warm), bytes=wrote,
    )  # fmt: skip


def _ended_well(forks: Forks, place: Place, study: Study) -> float:
    began = time.monotonic()
    run = place.start(forks, study)
    code = run.ended(PATIENCE)
    assert code == 0, run.said.read_text()
    return time.monotonic() - began


def differing(study: Study, out: Path) -> list[str]:
    """Which outputs are not those of an undisturbed call: missing, more, or of other bytes."""
    found = outputs(out)
    missing = [f"no {name}" for name in study.wanted if name not in found]
    more = [f"more: {name}" for name in found if name not in study.wanted]
    other = [name for name, digest in found.items() if study.wanted.get(name) not in (None, digest)]
    return missing + more + other


Way = Callable[[Forked, random.Random], str]
"""Disturbs one; says what is amiss with how it ended, "" where nothing is, "refused" where it said so in one line."""


def killed(number: int, *, group: bool) -> Way:
    """Sends a signal that ends it at once."""

    def way(run: Forked, _: random.Random) -> str:
        run.signal(number, group=group)
        code = run.ended(PATIENCE)
        return "" if code in (-number, 0) else f"exit code {code}: {run.said.read_text()[-2000:]}"

    return way


def interrupted(run: Forked, _: random.Random) -> str:
    """Ctrl-C in its terminal: one line, and exit code 130."""
    run.signal(signal.SIGINT, group=True)
    code, said = run.ended(PATIENCE), run.said.read_text()
    if code == 130 and "Traceback" not in said:
        return ""
    return "" if code == 0 and "Traceback" not in said else f"exit code {code}: {said[-2000:]}"


def worker_killed(run: Forked, rng: random.Random) -> str:
    """One of its worker processes, as a system does that is out of memory."""
    end = time.monotonic() + 5
    while not (workers := run.workers()) and run.ended(0.02) is None and time.monotonic() < end:
        pass
    if workers:
        time.sleep(rng.uniform(0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    return refusal(run)


def refusal(run: Forked) -> str:
    """How a call ended that may have ended with an error: "" where it went on, "refused" where it said so."""
    code, said = run.ended(PATIENCE), run.said.read_text()
    if "Traceback" in said or code not in (0, 1):
        return f"exit code {code}: {said[-2000:]}"
    return "" if code == 0 else "refused" if "error:" in said and "hint:" in said else f"no error: {said[-2000:]}"


WAYS: Mapping[str, Way] = {
    "SIGKILL": killed(signal.SIGKILL, group=False),
    "SIGKILL of its group": killed(signal.SIGKILL, group=True),
    "SIGTERM": killed(signal.SIGTERM, group=False),
    "SIGINT of its group": interrupted,
}
WORKER = {"SIGKILL of a worker": worker_killed}


def round_of_signals(
    forks: Forks, study: Study, place: Place, ways: Mapping[str, Way], times: int, rng: random.Random
) -> Rows:
    """Disturb a command so often, or until it has ended, then resume it to its end."""
    rows: Rows = {}
    with _told(study, place):
        for _ in range(times):
            run = place.start(forks, study)
            if run.ended(rng.uniform(0, rng.choice(study.seconds))) is not None:
                break
            name = rng.choice(sorted(ways))
            amiss = ways[name](run, rng)
            row = rows.setdefault(f"{study.name}: {name}", fresh())
            row["times"] += 1
            row["refused"] += amiss == "refused"
            row["orphans"] += bool(run.orphans(ORPHAN_S))
            assert amiss in ("", "refused"), f"{name}: {amiss}"
        _resumed(forks, study, place, rows)
    return rows


def round_of_two(forks: Forks, study: Study, place: Place, rng: random.Random) -> Rows:
    """Two runs on one store at once; one or none of them is killed, and resumed."""
    row = fresh(times=1)
    rows = {f"{study.name}: two on one store": row}
    with _told(study, place):
        other = Place.made(place.seen / "other", place.folder / "other")
        runs = [one.start(forks, study, place.folder / "store") for one in (place, other)]
        time.sleep(rng.uniform(0, study.seconds[0]))
        if victim := rng.choice([*runs, None]):
            victim.signal(signal.SIGKILL, group=True)
        for run in runs:
            code = run.ended(PATIENCE)
            row["orphans"] += bool(run.orphans(ORPHAN_S))
            assert code == 0 or (run is victim and code == -signal.SIGKILL), run.said.read_text()
        again = other.start(forks, study, place.folder / "store")
        assert again.ended(PATIENCE) == 0, again.said.read_text()
        wrong = [*differing(study, other.seen / "out"), *other.left()]
        row["lost"] += bool(wrong)
        assert not wrong, wrong
        _resumed(forks, study, place, rows)
    return rows


def round_of_a_full_disk(forks: Forks, study: Study, mount: Path, rng: random.Random) -> Rows:
    """A disk that is full in the middle of a run, and has room when it is run again. `mount`: an empty folder."""
    row = fresh(times=1)
    rows = {f"{study.name}: full disk": row}
    there = sum(f.stat().st_size for f in study.store.rglob("*")) if study.store else 0
    size = there + int(rng.uniform(0.02, 0.98) * (study.bytes - there)) + (256 << 10)
    mounted = forks.run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", mount)
    assert mounted.returncode == 0, mounted.stderr
    try:
        seen = forks.seen(mount)
        place = Place.made(seen / "round", mount / "round", study.store)
        with _told(study, place):
            run = place.start(forks, study)
            amiss = refusal(run)
            row["refused"] += amiss == "refused"
            row["orphans"] += bool(run.orphans(ORPHAN_S))
            assert amiss in ("", "refused"), amiss
            assert forks.run("mount", "-o", f"remount,size={size + (1 << 30)}", mount).returncode == 0
            _resumed(forks, study, place, rows)
    finally:
        forks.run("umount", "-l", mount)
    return rows


def round_of_flips(forks: Forks, study: Study, place: Place, times: int, rng: random.Random) -> Rows:
    """A bit is changed somewhere in a full store; what is run then must give the same, or say what is damaged."""
    row = fresh()
    rows = {f"{study.name}: flipped bit in the store": row}
    with _told(study, place):
        assert place.start(forks, study).ended(PATIENCE) == 0
        for _ in range(times):
            flipped = flip(place.seen / "store", rng)
            shutil.rmtree(place.seen / "out")
            run = place.start(forks, study)
            amiss = refusal(run)
            row["times"] += 1
            row["refused"] += amiss == "refused"
            assert amiss in ("", "refused"), f"{flipped}: {amiss}"
            if amiss:
                shutil.rmtree(place.seen / "store")
                _laid(place.seen / "store", study.store)
            else:
                row["lost"] += bool(wrong := differing(study, place.seen / "out"))
                assert not wrong, f"{flipped}: {wrong}"
        _resumed(forks, study, place, rows)
    return rows


def flip(store: Path, rng: random.Random) -> str:
    """Change one bit of one file of a store, which is nobody else's afterwards; says which."""
    files = sorted(f for f in store.rglob("*") if f.is_file() and f.stat().st_size)
    file = rng.choice(files)
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    copy = file.with_name(f"{file.name}-{uuid.uuid4().hex[:8]}")
    copy.write_bytes(data)
    copy.replace(file)
    return f"byte {at} of {file.relative_to(store)}"


def _resumed(forks: Forks, study: Study, place: Place, rows: Rows) -> None:
    """Run the command to its end, and count what is not as it should be."""
    run = place.start(forks, study)
    code = run.ended(PATIENCE)
    assert code == 0, run.said.read_text()
    wrong, orphans = differing(study, place.seen / "out"), run.orphans(ORPHAN_S)
    nannies = {name for name in forks.shared_memory() if _of_nannies(study, name)}
    left = [*place.left(), *(forks.shared_memory() - nannies)]
    for name in nannies:
        forks.seen(Path("/dev/shm") / name).unlink()  # else they would count against the next command
    for row in rows.values():
        row["equal"] += 0 if wrong else row["times"]
        row["lost"] += bool(wrong)
        row["orphans"] += bool(orphans)
        row["leftovers"] += bool(left)
    assert not wrong, wrong
    assert not left, left


def _of_nannies(study: Study, name: str) -> bool:
    """Semaphores of Dask's nannies stay if what would remove them is killed with them: see "Not promised"."""
    return "dask" in study.name and name.startswith("sem.")


class _told:
    """Says where the remains of a round are that failed; removes those of others."""

    def __init__(self, study: Study, place: Place) -> None:
        self._study, self._place = study, place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, _: object) -> None:
        if kind is None:
            shutil.rmtree(self._place.seen, ignore_errors=True)
        else:
            print(f"{self._study.name}: {error}\nsee {self._place.seen}", flush=True)


def _laid(store: Path, first: Path | None) -> None:
    """Make a store that begins with what is in another, linked where it can be."""
    store.mkdir(exist_ok=True)
    if first is not None:
        shutil.copytree(first, store, dirs_exist_ok=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def added(rows: Rows, more: Mapping[str, Mapping[str, int]]) -> Rows:
    """Both counts together."""
    found = {name: Counter(row) for name, row in rows.items()}
    for name, row in more.items():
        found.setdefault(name, Counter()).update(row)
    return found


COLUMNS: Sequence[tuple[str, str]] = (
    ("times", "times"), ("equal", "resumed byte-equal"), ("refused", "refused clearly"), ("lost", "lost or different"),
    ("orphans", "orphans"), ("leftovers", "leftovers"),
)  # fmt: skip


def fresh(**counts: int) -> Counter[str]:
    """A row in which all is counted."""
    return Counter({**{key: 0 for key, _ in COLUMNS}, **counts})


def others(build: Path) -> Rows:
    """Rows of the campaigns that count by themselves: of Dask workers, and of those of a service."""
    rows: Rows = {}
    for file in sorted(build.glob("*chaos-*.json")):
        counts = json.loads(file.read_text())
        who = "Dask workers" if file.stem == "chaos-dask" else f"service on {file.stem.rpartition('-')[2]}"
        for how, what in (
            ("killed", "SIGKILL of a worker"), ("paused", "worker paused past its lease"),
            ("scorer", "SIGKILL of what scores"), ("asked", "SIGTERM of a worker"),
        ):  # fmt: skip
            if how in counts:
                rows[f"{who}: {what}"] = Counter(times=counts[how], equal=counts[how], lost=0)
    return rows


def table(rows: Mapping[str, Mapping[str, int]]) -> str:
    """The counts as a table in Markdown; a dash where nobody looked."""
    head = ["disturbance", *(title for _, title in COLUMNS)]
    body = [[name, *(str(rows[name].get(key, "–")) for key, _ in COLUMNS)] for name in sorted(rows)]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *body)]
    return "\n".join([lines[0], f"|---|{'--:|' * len(COLUMNS)}", *lines[1:]])
