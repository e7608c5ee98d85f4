"""A Dask client for a run: connected to a running scheduler, or to a cluster that is started for it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.core import Status
from distributed.security import Security

from kras_plugins.engines.options import DaskOptions
from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.host.config import did_you_mean
from kras_plugins.host.interrupts import shielded

CONNECT_SECONDS = 20
"""How long to wait for a scheduler, which may be about to start."""
_CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "htcondor": "HTCondorCluster",
}
_WORKERS: dict[str, Any] = {
    "distributed.worker.daemon": False,  # they start processes, which Dask's nanny does not allow by itself
    # It samples every thread 100 times a second under Python's lock: a tenth of a core, useless here.
    "distributed.worker.profile.enabled": False,
}
"""Dask's settings for the workers that are started here."""


@contextmanager
def connected(options: DaskOptions) -> Iterator[Client]:
    """A client of the scheduler that the options name, or of the cluster that they ask for, closed at the end.

    Raises ConfigError for invalid options, BackendError if no scheduler answers or a worker ends while it starts.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if options.cluster is not None:
            cluster = stack.enter_context(started(options))
            yield stack.enter_context(Client(cluster, set_as_default=False, timeout=CONNECT_SECONDS))
            return
        if options.scheduler is None:
            raise ConfigError(
                "--engine dask: no scheduler is named",
                "-o engine.dask.scheduler=tls://HOST:8786, or -o engine.dask.cluster=local for workers on this machine",
            )
        try:
            client = Client(
                options.scheduler, security=security_of(options), set_as_default=False, timeout=CONNECT_SECONDS
            )
        except (OSError, TimeoutError, ValueError, TypeError) as e:
            raise BackendError(
                f"no Dask scheduler answers at {options.scheduler}: {e}", "start one: `dask scheduler`; see its log"
            ) from e
        try:
            yield client
        finally:
            client.close(timeout=2)


def security_of(options: DaskOptions) -> Security | None:
    """The certificates for a scheduler that uses TLS; None if it does not. ConfigError if they are missing."""
    if options.scheduler is None or not options.scheduler.startswith("tls://"):
        return None
    named = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    told = {name: str(file) for name in named if (file := getattr(options, name)) is not None}
    for name, file in told.items():
        try:
            with open(file, "rb"):
                pass
        except OSError as e:
            raise ConfigError(f"engine.dask.{name}: {file}: {e.strerror}", "check the path") from e
    security = Security(require_encryption=True, **told)
    missing = [name for name in named if getattr(security, name) is None]
    if missing:
        raise ConfigError(
            f"{options.scheduler} needs certificates; not set: {', '.join(missing)}",
            "set them in [engine.dask], or in Dask's own settings (distributed.comm.tls)",
        )
    return security


@contextmanager
def started(options: DaskOptions) -> Iterator[Any]:
    """A cluster for this run alone, which ends with it, encrypted with certificates made for it.

    Even on loopback: anybody else who is logged in on this machine could connect, and run code as its user.
    """
    with dask.config.set({**_WORKERS, "distributed.scheduler.worker-ttl": "5 minutes"}):
        if options.cluster == "local":
            with _local(options.jobs) as cluster:
                yield cluster
            return
        kind = _cluster_class(options)
        with kind(job_cls=_asked(kind.job_cls), **job_terms(options)) as cluster:
            # Not `scale`: a job that ends early must be requested again.
            cluster.adapt(minimum_jobs=options.jobs, maximum_jobs=options.jobs)
            yield cluster


def _local(workers: int) -> Any:
    try:
        with shielded():
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=2,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                security=True,
            )
    except (RuntimeError, TimeoutError) as e:
        raise BackendError(
            f"a Dask worker on this machine ended while it started: {e}",
            "it may have run out of memory: use fewer -o engine.dask.jobs, then run again",
        ) from e


def refusal(cluster: Any) -> str:
    """Why the batch system accepted none of a cluster's jobs; "" if it accepted any, or that is not known yet."""
    reasons = [getattr(job, "refused", "") for job in list(getattr(cluster, "workers", {}).values())]
    return reasons[0] if reasons and all(reasons) else ""


def _asked(kind: Any) -> Any:
    """A class of jobs that record why they were refused. Dask logs it, and waits for their workers forever."""

    class Asked(kind):  # type: ignore[misc]  # Dask has no types
        refused = ""

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as e:
                self.status, self.refused = Status.failed, " ".join(str(e).split())
                raise

    return Asked


def job_terms(options: DaskOptions) -> dict[str, Any]:
    """Arguments of dask-jobqueue's cluster: `[engine.dask.job]`, encryption, and workers that may start processes.

    Raises ConfigError for a term that it does not know.
    """
    kind = _cluster_class(options)
    known = {
        name
        for one in (*kind.__mro__, *kind.job_cls.__mro__)
        for name, parameter in inspect.signature(one.__init__).parameters.items()
        if name != "self" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    for name in options.job:
        if name not in known:
            raise ConfigError(f"unknown setting engine.dask.job.{name}", did_you_mean(name, known))
    terms = {"security": True, "processes": 1, **options.job}
    terms["job_script_prologue"] = [*_exports(), *terms.get("job_script_prologue", ())]
    return terms


def _exports() -> list[str]:
    """The settings of workers as lines of a job's script."""
    return [f"export DASK_{key.replace('.', '__').upper()}={value}" for key, value in _WORKERS.items()]


def _cluster_class(options: DaskOptions) -> Any:
    try:
        import dask_jobqueue
    except ImportError as e:
        raise ConfigError(f"cluster = {options.cluster} needs dask-jobqueue", "pip install 'kras[dask]'") from e
    return getattr(dask_jobqueue, _CLUSTERS[str(options.cluster)])


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Dask's own logs of lost connections, which are reported in one line; the logs are for debugging."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
