"""A Triton server and its client, disturbed at random: either may go at any moment, and both leave nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cohorts import environment
from disturbed import ORPHAN_S, PATIENCE, WAYS, Place, Rows, Study, differing, fresh, learned, refusal
from forked_kras import Forked, Forks
from triton_server import own_ports


class Served:
    """`kras model serve` on one port, started again where it is gone."""

    def __init__(self, forks: Forks, repository: Path, folder: Path) -> None:
        self.port = own_ports()["grpc"]
        self._forks, self._repository, self._folder = forks, repository, folder
        self._run: Forked | None = None
        (folder / "tmp").mkdir(parents=True)

    def up(self) -> Forked:
        """The server, ready."""
        if self._run is not None and self._run.ended(0) is None:
            return self._run
        words = ["model", "serve", self._repository, "--port", str(self.port), "--precision", "f32"]
        env = environment(self._folder / "store", TMPDIR=str(self._folder / "tmp"), PYTHONUNBUFFERED="1")
        self._run = run = self._forks.start(words, self._folder, env)
        end = time.monotonic() + PATIENCE
        while "serving" not in (said := run.said.read_text()):
            assert run.ended(0.1) is None and time.monotonic() < end, said
        return run

    def gone(self) -> int:
        """What a server that ends now leaves running."""
        if self._run is None:
            return 0
        run, self._run = self._run, None
        run.signal(signal.SIGTERM)
        run.ended(PATIENCE)
        return len(run.orphans(ORPHAN_S))

    def left(self) -> list[str]:
        """Files of servers that have ended."""
        return [str(f) for f in (self._folder / "tmp").rglob("*") if f.is_file()]


@contextmanager
def served(forks: Forks, study: Study, repository: Path, folder: Path) -> Iterator[tuple[Served, Study]]:
    """A server, and the study with what it writes through it undisturbed."""
    server = Served(forks, repository, folder / "server")
    url = ("--backend", "triton", "-o", f"backend.triton.url=127.0.0.1:{server.port}")
    server.up()
    try:
        yield server, learned(forks, replace(study, words=(*study.words, *url)), folder)
    finally:
        server.gone()


def _server(run: Forked, number: int) -> None:
    """To Triton itself, as `kras model serve` would see it crash."""
    for pid in run.family():
        with suppress(OSError):
            if b"tritonserver" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(pid, number)


SERVER_WAYS = {
    "SIGKILL of the server's command": lambda run: run.signal(signal.SIGKILL),
    "SIGTERM of the server's command": lambda run: run.signal(signal.SIGTERM),
    "SIGKILL of tritonserver": lambda run: _server(run, signal.SIGKILL),
}


def round_on_triton(forks: Forks, server: Served, study: Study, place: Place, times: int, rng: random.Random) -> Rows:
    """Disturb client or server so often, then resume with a server that is there."""
    rows: Rows = {}
    for _ in range(times):
        served_by, run = server.up(), place.start(forks, study)
        if run.ended(rng.uniform(0, study.seconds[0])) is not None:
            break
        name = rng.choice([*sorted(SERVER_WAYS), *sorted(WAYS)])
        if name in SERVER_WAYS:
            SERVER_WAYS[name](served_by)
            amiss = refusal(run)
            served_by.ended(PATIENCE)
        else:
            amiss = WAYS[name](run, rng)
        row = rows.setdefault(f"{study.name}: {name}", fresh())
        row["times"] += 1
        row["refused"] += amiss == "refused"
        orphans = run.orphans(ORPHAN_S) + (served_by.orphans(ORPHAN_S) if name in SERVER_WAYS else [])
        row["orphans"] += bool(orphans)
        assert amiss in ("", "refused"), f"{name}: {amiss}"
    server.up()
    run = place.start(forks, study)
    assert run.ended(PATIENCE) == 0, run.said.read_text()
    wrong, orphans = differing(study, place.seen / "out"), server.gone()
    left = [*place.left(), *server.left(), *forks.shared_memory()]
    for row in rows.values():
        row["equal"] += 0 if wrong else row["times"]
        row["lost"] += bool(wrong)
        row["orphans"] += bool(orphans)
        row["leftovers"] += bool(left)
    assert not wrong and not left, (wrong, left)
    return rows
