"""Tasks on real Dask workers: each done once, even if workers die; workers that differ get none."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine_tasks
import pytest
from dask_cluster import TESTS, Cluster, cluster

from kras_plugins.engines.options import DaskOptions
from kras_plugins.errors import BackendError, SlideError
from kras_plugins.host.notes import noted

IDENTITY = {"library": {"numpy": "1"}}
PATIENCE = 600
"""Seconds for what takes one or two on an idle machine."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("two"), workers=2) as made:
        yield made


@contextmanager
def pool(there: Cluster, folder: Path, said: list[str] | None = None, **options: Any) -> Iterator[Any]:
    from kras_plugins.engines.dask_engine import dask_engine

    said = [] if said is None else said
    told = {k: v for k, v in options.items() if k in DaskOptions.model_fields}
    asked = DaskOptions.model_validate({"scheduler": there.address, **told})
    folder.mkdir(exist_ok=True)
    with dask_engine(asked, said.append, said.append) as dask:
        order = {"folder": str(folder), **options.get("order", {})}
        with dask.pool(engine_tasks.bench, order, IDENTITY, needing=True, tell=lambda *a: said.append(str(a))) as made:
            yield made


def items(names: Sequence[str], **does: str) -> list[dict[str, str]]:
    return [{"name": name, **({"does": does[name]} if name in does else {})} for name in names]


def began(folder: Path, name: str) -> list[str]:
    return (folder / f"began-{name}").read_text().splitlines()


def test_each_task_is_done_once_and_the_largest_are_begun_first(two: Cluster, tmp_path: Path) -> None:
    names = [f"t{i}" for i in range(12)]
    with pool(two, tmp_path / "work") as made, noted(lambda _: None) as notes:
        found = dict(made.map(engine_tasks.work, items(names), [float(i % 5) for i in range(12)]))
    assert [found[i]["name"] for i in range(12)] == names
    assert [len(began(tmp_path / "work", name)) for name in names] == [1] * 12
    assert notes == ["worked"]
    when = {name: (tmp_path / "work" / f"began-{name}").stat().st_mtime_ns for name in names}
    largest, smallest = {"t4", "t9"}, {"t0", "t5", "t10"}
    assert max(when[name] for name in largest) < min(when[name] for name in smallest)


def test_a_tasks_own_error_comes_back_and_is_not_tried_again(two: Cluster, tmp_path: Path) -> None:
    with pool(two, tmp_path / "work") as made:
        found = dict(made.map(engine_tasks.work, items(["a", "b", "c"], b="fails")))
    assert isinstance(found[1], SlideError)
    assert (found[1].message, found[1].hint) == ("b is damaged", "scan it again")
    assert "engine_tasks.py" in "".join(found[1].__notes__)
    assert [found[i]["name"] for i in (0, 2)] == ["a", "c"]
    assert len(began(tmp_path / "work", "b")) == 1


def test_a_bug_in_a_task_is_raised_as_it_is(two: Cluster, tmp_path: Path) -> None:
    with pool(two, tmp_path / "work") as made, pytest.raises(ZeroDivisionError):
        list(made.map(engine_tasks.work, items(["a", "b"], b="divides")))


def test_what_no_event_told_is_asked_for(two: Cluster, tmp_path: Path) -> None:
    with pool(two, tmp_path / "work") as made:
        made._client.unsubscribe_topic(made._name)
        found = dict(made.map(engine_tasks.work, items(["a", "b", "c"], b="fails")))
        made._client.subscribe_topic(made._name, made.heard)
    assert [found[i]["name"] for i in (0, 2)] == ["a", "c"]
    assert isinstance(found[1], SlideError)
    assert [len(began(tmp_path / "work", name)) for name in "abc"] == [1, 1, 1]


def test_a_run_that_waits_for_workers_says_so_again_and_finds_one_whose_word_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kras_plugins.engines.dask_engine._SAY_SECONDS", 0.5)
    said: list[str] = []
    with cluster(tmp_path / "dask", workers=0) as there, pool(there, tmp_path / "work", said) as made:
        made._client.unsubscribe_topic(made._name)
        ended: queue.Queue[Any] = queue.Queue()
        thread = threading.Thread(target=lambda: ended.put(dict(made.map(engine_tasks.work, items(["a"])))))
        thread.start()
        end = time.monotonic() + PATIENCE
        while len(said) < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
        there.add()
        assert ended.get(timeout=PATIENCE).keys() == {0}
        thread.join(timeout=PATIENCE)
        made._client.subscribe_topic(made._name, made.heard)
    assert said[1:3] == ["waiting for a Dask worker: 0 connected, 0 of them not ready yet"] * 2


def test_a_worker_that_is_stopped_while_a_run_begins_is_waited_for_aloud(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kras_plugins.engines.dask_engine._SAY_SECONDS", 0.5)
    said: list[str] = []
    stopped, waits = two.workers[0], "waiting for 2 Dask workers to answer"
    for number in (0, 1):
        two.joined(number)

    def go_on() -> None:
        end = time.monotonic() + PATIENCE
        while waits not in said and time.monotonic() < end:
            time.sleep(0.05)
        stopped.send_signal(signal.SIGCONT)

    stopped.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=go_on)
    thread.start()
    with pool(two, tmp_path / "work", said) as made:
        assert dict(made.map(engine_tasks.nothing, [7])) == {0: 7}
    thread.join()
    assert waits in said


def test_a_scheduler_that_was_lost_in_between_ends_the_run(two: Cluster, tmp_path: Path) -> None:
    """It forgot the tasks and who must be notified of lost workers: waiting would last forever."""

    def cut(made: Any) -> None:
        for _ in made.map(engine_tasks.work, items(["a", "b"], b="waits")):
            made._client.loop.add_callback(made._client.scheduler_comm.comm.abort)

    with pool(two, tmp_path / "work") as made, pytest.raises(BackendError, match="is gone"):
        cut(made)
    (tmp_path / "work" / "go").touch()


def test_workers_that_open_their_bench_are_not_waited_for_and_close_it_whoever_leaves_meanwhile(tmp_path: Path) -> None:
    from distributed import Client

    first, second, said, ended = tmp_path / "first", tmp_path / "second", [], queue.Queue()

    def run(work: Path, tasks: list[dict[str, str]]) -> None:
        with pool(there, work, said, order={"waits": "yes"}) as made:
            ended.put((dict(made.map(engine_tasks.work, tasks)), len(made._slots)))

    with cluster(tmp_path / "dask", workers=0) as there:
        there.add(TEST_NAME="-a")
        with Client(there.address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=PATIENCE)
            thread = threading.Thread(target=run, args=(first, items(["a", "b"])))
            thread.start()
            until(first / "opening-a")
            there.add(TEST_NAME="-b")
            until(first / "opening-b")
            (first / "open-a").touch()
            found, workers = ended.get(timeout=PATIENCE)
            assert (found.keys(), workers) == ({0, 1}, 1)
            (first / "open-b").touch()
            thread.join(timeout=PATIENCE)
            assert {file.name for file in first.glob("closed-*")} == {"closed-a", "closed-b"}
            assert not [text for text in said if "left out" in text]

            thread = threading.Thread(target=run, args=(second, []))
            thread.start()
            until(second / "opening-a")
            (name,) = benches(there)
            leaver = threading.Thread(target=client.unregister_worker_plugin, args=(name,))
            leaver.start()
            time.sleep(0.5)  # so that it asks first on an idle machine; otherwise this proves less
            for worker in "ab":
                until(second / f"opening-{worker}")
                (second / f"open-{worker}").touch()
                until(second / f"closed-{worker}")
            leaver.join(timeout=PATIENCE)
            thread.join(timeout=PATIENCE)


def benches(there: Cluster) -> list[str]:
    """The names of all runs that have benches."""
    from distributed import Client

    with Client(there.address, set_as_default=False) as client:
        return client.run_on_scheduler(
            lambda dask_scheduler: [name for name in dask_scheduler.worker_plugins if "kras:" in name]
        )


def until(file: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < end, file
        time.sleep(0.02)


def test_a_worker_of_another_version_is_left_out_by_name(two: Cluster, tmp_path: Path) -> None:
    other, said = two.add(TEST_NUMPY="2"), []
    try:
        with pool(two, tmp_path / "work", said) as made:
            wait_for(lambda: any("left out" in text for text in said), made)
            found = dict(made.map(engine_tasks.work, items([f"t{i}" for i in range(8)])))
    finally:
        other.kill()
        other.wait()
    assert other.pid not in {one["pid"] for one in found.values()}
    (refusal,) = [text for text in said if "left out" in text]
    assert "library numpy is 2 there, 1 here" in refusal


def wait_for(ready: Any, made: Any) -> None:
    """Wait for something that workers report; the pool receives it between tasks."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end
        dict(made.map(engine_tasks.nothing, [0]))
        time.sleep(0.1)


def test_where_no_worker_can_be_used_the_run_ends_with_the_reason(two: Cluster, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no Dask worker can be used; tcp://.*: it has no weights"):
        with pool(two, tmp_path / "work", order={"fails": "it has no weights"}) as made:
            list(made.map(engine_tasks.work, items(["a"])))
    with pytest.raises(BackendError, match="it declares 0 GPU"):
        with pool(two, tmp_path / "work", needs={"GPU": 1.0}) as made:
            list(made.map(engine_tasks.work, items(["a"])))


def test_a_killed_workers_tasks_are_done_by_others_and_one_that_kills_is_set_aside(tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", workers=4) as there:
        work, said = tmp_path / "work", []
        with pool(there, work, said, lost=1) as made:
            wait_for(lambda: len(made._slots) == 4, made)
            waits = [f"w{i}" for i in range(8)]
            outcomes: queue.Queue[Any] = queue.Queue()
            tasks = items([*waits, *(f"t{i}" for i in range(6))], **dict.fromkeys(waits, "waits"))
            thread = threading.Thread(target=lambda: outcomes.put(list(made.map(engine_tasks.work, tasks))))
            thread.start()
            end = time.monotonic() + PATIENCE
            while not all((work / f"began-{name}").exists() for name in waits):  # eight places, all taken
                assert time.monotonic() < end
                time.sleep(0.05)
            there.workers[0].send_signal(signal.SIGKILL)
            time.sleep(0.3)
            (work / "go").touch()
            found = outcomes.get(timeout=PATIENCE)
            assert sorted(i for i, _ in found) == list(range(14))
            assert all(one["name"] == tasks[i]["name"] for i, one in found)
            assert there.workers[0].pid not in {one["pid"] for _, one in found}
            again = [name for name in waits if len(began(work, name)) == 2]
            assert len(again) == 2  # what the killed worker was doing, and nothing else
            assert all(began(work, name)[0] == str(there.workers[0].pid) for name in again)
            # Three workers are left: a task that kills two of them is given up.
            found = dict(made.map(engine_tasks.work, items(["bad", "good", "fine"], bad="kills")))
    assert isinstance(found[0], SlideError)
    assert "2 workers were lost while they worked on it" in found[0].message
    assert len(began(work, "bad")) == 2
    assert [found[i]["name"] for i in (1, 2)] == ["good", "fine"]


def test_a_scheduler_that_is_lost_ends_the_run_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(there: Cluster) -> None:
        with pool(there, tmp_path / "work") as made:
            for i, _ in made.map(engine_tasks.work, items(["a", "b"], b="waits")):
                assert i == 0
                there.scheduler.kill()

    with cluster(tmp_path / "dask", workers=1) as there:
        with pytest.raises(BackendError, match=f"the Dask scheduler {there.address} is gone") as e:
            killed(there)
        assert "run the same command" in e.value.hint
        monkeypatch.setattr("kras_plugins.engines.clusters.CONNECT_SECONDS", 1)
        with pytest.raises(BackendError, match="no Dask scheduler answers"):
            killed(there)


def test_workers_whose_nanny_allows_no_children_are_left_out_by_name(tmp_path: Path) -> None:
    before = multiprocessing.active_children()
    with cluster(tmp_path / "dask", workers=0) as there:
        there.add("--nanny")
        with pytest.raises(BackendError, match="it may not start processes of its own"):
            with pool(there, tmp_path / "work") as made:
                list(made.map(engine_tasks.work, items(["a"])))
    assert set(multiprocessing.active_children()) <= set(before)


GONE = """
import os, sys
from pathlib import Path
import engine_tasks
from kras_plugins.engines.dask_engine import dask_engine
from kras_plugins.engines.options import DaskOptions

if __name__ == "__main__":
    with dask_engine(DaskOptions(scheduler=sys.argv[1]), print, print) as dask:
        with dask.pool(engine_tasks.bench, {"folder": sys.argv[2]}, {"library": {"numpy": "1"}}) as pool:
            list(pool.map(engine_tasks.nothing, [0]))
            os._exit(9)
"""


def test_the_benches_of_a_run_that_was_killed_are_closed_by_the_next(two: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "gone.py"
    script.write_text(GONE)
    ended = subprocess.run(
        [sys.executable, str(script), two.address, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        timeout=120,
    )
    assert ended.returncode == 9

    assert len(benches(two)) == 1
    with pool(two, tmp_path / "work") as made:
        assert len(benches(two)) == 1
        assert dict(made.map(engine_tasks.nothing, [7])) == {0: 7}
    assert benches(two) == []


def test_a_scheduler_by_tls_takes_who_has_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed.security import Security

    made = Security.temporary()
    files = {}
    for name, text in {
        "tls_ca_file": made.tls_ca_file, "tls_client_cert": made.tls_client_cert, "tls_client_key": made.tls_client_key,
    }.items():  # fmt: skip
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_text(text)
    words = ("--tls-ca-file", str(files["tls_ca_file"]), "--tls-cert", str(files["tls_client_cert"]),
             "--tls-key", str(files["tls_client_key"]))  # fmt: skip
    with cluster(tmp_path / "dask", workers=1, words=words) as there:
        assert there.address.startswith("tls://127.0.0.1:")
        with pool(there, tmp_path / "work", **files) as opened:
            assert dict(opened.map(engine_tasks.nothing, [7])) == {0: 7}
        plain = there.address.replace("tls://", "tcp://")
        monkeypatch.setattr("kras_plugins.engines.clusters.CONNECT_SECONDS", 2)
        with pytest.raises(BackendError, match="no Dask scheduler answers"):
            with pool(there, tmp_path / "work", scheduler=plain):
                pass


SBATCH = """#!/bin/sh
# An emulator of Slurm's sbatch: the job runs here, at once.
cp "$1" "$EMULATED/job.sh"
setsid sh "$EMULATED/job.sh" > "$EMULATED/job.log" 2>&1 &
echo "Submitted batch job $!"
"""


REFUSES = """#!/bin/sh
echo "sbatch: error: invalid partition specified: long" >&2
exit 1
"""


def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str) -> DaskOptions:
    """One job of a Slurm that is not installed: `sbatch` and `scancel` are emulated, all else is dask-jobqueue's."""
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue: pip install 'kras[dask]'")
    (folder / "bin").mkdir()
    for name, text in (("sbatch", sbatch), ("scancel", '#!/bin/sh\nkill -- "-$1"\n')):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("EMULATED", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    job = {
        "cores": 2, "memory": "2GB", "walltime": "00:10:00", "local_directory": str(folder / "work"),
        "shared_temp_directory": str(folder), "death_timeout": 600,
        "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }  # fmt: skip
    return DaskOptions.model_validate({"cluster": "slurm", "jobs": 1, "job": job})


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # dask-jobqueue leaves those of its certificates
def test_a_job_that_is_refused_ends_the_run_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = slurm(tmp_path, monkeypatch, REFUSES)
    from kras_plugins.engines.dask_engine import dask_engine

    def run() -> None:
        with dask_engine(options, print, print) as dask:
            with dask.pool(engine_tasks.bench, {"folder": str(tmp_path)}, IDENTITY) as made:
                list(made.map(engine_tasks.work, items(["a"])))

    with pytest.raises(BackendError, match="the batch system accepted no job: .* invalid partition specified: long"):
        run()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # dask-jobqueue leaves those of its certificates
def test_a_cluster_of_ones_own_is_asked_for_by_jobs_and_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = slurm(tmp_path, monkeypatch, SBATCH)
    from kras_plugins.engines.dask_engine import dask_engine

    said: list[str] = []
    with dask_engine(options, said.append, said.append) as dask:
        with dask.pool(engine_tasks.bench, {"folder": str(tmp_path)}, IDENTITY) as made:
            found = dict(made.map(engine_tasks.work, items(["a", "b"])))
    assert [found[i]["name"] for i in (0, 1)] == ["a", "b"]
    assert said[0].startswith("Dask scheduler tls://127.0.0.1:")
    del dask, made
    gc.collect()
    script = (tmp_path / "job.sh").read_text()
    assert "#SBATCH -t 00:10:00" in script
    assert "--tls-key" in script


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_that_are_started_for_a_run_are_not_reached_by_ctrl_c() -> None:
    """They share its terminal, and would end with a traceback each."""
    from kras_plugins.engines.clusters import started

    with started(DaskOptions(cluster="local", jobs=1)):
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:
            status = Path(f"/proc/{worker.pid}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)
            assert blocked >> (signal.SIGINT - 1) & 1


def test_a_worker_that_is_killed_while_it_starts_is_one_error() -> None:
    from kras_plugins.engines.clusters import started

    there, done = set(multiprocessing.active_children()), threading.Event()

    def kill_all() -> None:
        while not done.wait(0.01):
            for worker in set(multiprocessing.active_children()) - there:
                worker.kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with (
            pytest.raises(BackendError, match="a Dask worker on this machine ended while it started"),
            started(DaskOptions(cluster="local", jobs=1)),
        ):
            pass
    finally:
        done.set()
        killer.join()
