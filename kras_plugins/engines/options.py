"""The options of engine `dask`: table `[engine.dask]` of kras.toml, or `-o engine.dask.KEY=VALUE`."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from kras_plugins.contracts.base import Options, location, tuning
from kras_plugins.errors import ConfigError
from kras_plugins.host.config import did_you_mean, toml_value

Queue = Literal["local", "slurm", "pbs", "lsf", "sge", "htcondor"]
"""Where a cluster for a run is started: on this machine, or as jobs of a batch system."""

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:]+\]|[^:/\[\]]+):([0-9]{1,5})\Z")
_FILES = frozenset({"tls_ca_file", "tls_client_cert", "tls_client_key"})
_File = Annotated[Path, Field(strict=False)]


class DaskOptions(Options):
    """Which scheduler, and how tasks are distributed. None of it changes a result.

    `[engine.dask.job]` has the terms of dask-jobqueue's cluster of that name.
    """

    scheduler: str | None = location(
        None, description="address of a running scheduler: tcp://HOST:PORT on this machine, else tls://HOST:PORT"
    )
    cluster: Queue | None = location(
        None, description="start workers for this run alone: on this machine, or as jobs of a batch system"
    )
    jobs: int = tuning(2, ge=1, le=10_000, description="how many jobs `cluster` requests; workers if it is local")
    job: dict[str, Any] = location(
        {}, description="what a job requests, in the terms of dask-jobqueue: cores, memory, walltime, queue …"
    )
    lost: int = tuning(
        3, ge=0, le=100, description="how often a task whose worker was lost is tried again before it is set aside"
    )
    needs: dict[str, float] = tuning(
        {}, description="resources that a worker must have declared, for each slide it takes at once: { GPU = 1 }"
    )
    tls_ca_file: _File | None = location(None, description="certificate of the authority, PEM; else Dask's settings")
    tls_client_cert: _File | None = location(None, description="certificate of this client, PEM")
    tls_client_key: _File | None = location(None, description="its private key, PEM")
    insecure: bool = location(
        False,
        description="allow tcp:// to another machine: anybody who reaches that scheduler can run code as its user",
    )

    @pydantic.field_validator("job", mode="before")
    @classmethod
    def _times_as_text(cls, value: Any) -> Any:
        """TOML reads `12:00:00` as a time of day; batch systems use it as a duration."""
        if not isinstance(value, Mapping):
            return value
        return {k: v.isoformat() if isinstance(v, datetime.time) else v for k, v in value.items()}

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.scheduler is not None and self.cluster is not None:
            raise ValueError("scheduler and cluster exclude each other; leave one of them out")
        if self.job and self.cluster in (None, "local"):
            raise ValueError("[engine.dask.job] is for a batch system; set cluster to slurm, pbs, lsf, sge or htcondor")
        if self.scheduler is not None:
            self._check_address(self.scheduler)
        return self

    def _check_address(self, scheduler: str) -> None:
        found = _ADDRESS.match(scheduler)
        if found is None:
            raise ValueError(f"scheduler {scheduler} is not an address; for example tls://head.example.org:8786")
        if found[1] == "tcp" and not self.insecure and not is_loopback(found[2].strip("[]")):
            raise ValueError(
                f"scheduler {scheduler} is on another machine and not encrypted: an open scheduler runs anybody's "
                "code; start it with TLS and use tls://…, or set insecure = true in a network where nobody else is"
            )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, which nobody else can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def dask_options(table: Mapping[str, Any], overrides: Iterable[str], file: Path | None) -> DaskOptions:
    """The options of a settings file's tables `[engine.…]`, with `engine.dask.KEY=VALUE` over them.

    KEY may be an entry of a table, such as `job.walltime`. Paths in the file are relative to it. Raises ConfigError.
    """
    where = f"{file}: " if file else ""
    for name, entries in table.items():
        if name != "dask" or not isinstance(entries, Mapping):
            raise ConfigError(f"{where}unknown table engine.{name}", "write [engine.dask]")
    told = {k: file.parent / v if file and k in _FILES else v for k, v in table.get("dask", {}).items()}
    for override in overrides:
        path, separator, text = override.partition("=")
        engine, _, key = path.strip().removeprefix("engine.").partition(".")
        if not separator or engine != "dask" or not key:
            raise ConfigError(f"-o {override}: not of the form engine.dask.key=value", "see [engine.dask] in the docs")
        top, _, entry = key.partition(".")
        told[top] = {**told.get(top, {}), entry: toml_value(text.strip())} if entry else toml_value(text.strip())
    try:
        return DaskOptions.model_validate(told)
    except pydantic.ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{where}unknown setting engine.dask.{key}", did_you_mean(key, DaskOptions.model_fields)
            ) from e
        cause, _, hint = first["msg"].removeprefix("Value error, ").partition("; ")
        raise ConfigError(f"{where}engine.dask{key and '.'}{key}: {cause}", hint) from e
