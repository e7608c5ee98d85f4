"""Options of engine `dask`: invalid ones are refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kras_plugins.engines.options import DaskOptions, dask_options
from kras_plugins.errors import ConfigError
from kras_plugins.study import StudySettings

HEADERS = {"slurm": "#SBATCH", "pbs": "#PBS", "lsf": "#BSUB", "sge": "#$"}


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "tls://head.example.org:8786",
     "tls://10.0.0.1:8786"],
)  # fmt: skip
def test_addresses_that_nobody_else_can_use_are_taken(address: str) -> None:
    assert dask_options({}, [f"engine.dask.scheduler={address}"], None).scheduler == address


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.dask.scheduler=tcp://head:8786", "on another machine and not encrypted"),
        ("engine.dask.scheduler=tcp://10.0.0.1:8786", "on another machine and not encrypted"),
        ("engine.dask.scheduler=head:8786", "is not an address"),
        ("engine.dask.scheduler=inproc://127.0.0.1:1", "is not an address"),
        ("engine.dask.schedular=tcp://127.0.0.1:1", "unknown setting engine.dask.schedular"),
        ("engine.dask.lost=-1", "engine.dask.lost: Input should be greater"),
        ("engine.dask.cluster=cloud", "engine.dask.cluster"),
        ("engine.dask.job.cores=8", "is for a batch system"),
        ("engine.spark.x=1", "not of the form engine.dask.key=value"),
        ("engine.dask", "not of the form engine.dask.key=value"),
    ],
)
def test_what_cannot_be_meant_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dask_options({}, [override], None)


def test_an_open_scheduler_elsewhere_needs_a_word() -> None:
    told = ["engine.dask.scheduler=tcp://10.0.0.1:8786", "engine.dask.insecure=true"]
    assert dask_options({}, told, None).insecure


def test_the_settings_file_has_a_table_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    file = tmp_path / "kras.toml"
    file.write_text(
        '[run]\nengine = "dask"\n[engine.dask]\ncluster = "slurm"\njobs = 16\ntls_ca_file = "ca.pem"\n'
        '[engine.dask.job]\ncores = 8\nmemory = "32GB"\n'
    )
    made = StudySettings.load(file, ["engine.dask.jobs=4", "engine.dask.job.walltime=12:00:00"])
    assert (made.engine, made.dask.cluster, made.dask.jobs) == ("dask", "slurm", 4)
    assert made.dask.job == {"cores": 8, "memory": "32GB", "walltime": "12:00:00"}
    assert made.dask.tls_ca_file == tmp_path / "ca.pem"
    assert "dask" not in made.result_affecting()
    assert "dask" not in made.described()


def test_a_settings_file_that_was_only_found_names_no_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KRAS_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("KRAS_TRUST", raising=False)
    (tmp_path / "kras.toml").write_text('[engine.dask]\nscheduler = "tcp://127.0.0.1:8786"\n')
    with pytest.raises(ConfigError, match=r"\[engine.dask\] decides which machines are called"):
        StudySettings.load()
    (tmp_path / "kras.toml").write_text('[run]\nengine = "dask"\n')
    with pytest.raises(ConfigError, match="run.engine decides"):
        StudySettings.load()


def asked(cluster: str, **job: Any) -> DaskOptions:
    return DaskOptions.model_validate({"cluster": cluster, "job": {"cores": 8, "memory": "32GB", **job}})


@pytest.mark.parametrize("cluster", ["slurm", "pbs", "lsf", "sge", "htcondor"])
def test_jobs_are_asked_for_in_the_terms_of_each_batch_system(cluster: str) -> None:
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue: pip install 'kras[dask]'")
    from kras_plugins.engines.clusters import _cluster_class, job_terms

    disk = {"disk": "10GB"} if cluster == "htcondor" else {"walltime": "12:00", "queue": "long"}
    options = asked(cluster, job_script_prologue=["module load python"], **disk)
    terms = job_terms(options)
    assert terms["security"] is True
    job = {k: v for k, v in terms.items() if k != "security"}
    script = _cluster_class(options).job_cls("tls://head:8786", name="w", **job).job_script()
    assert "DASK_DISTRIBUTED__WORKER__DAEMON=False" in script
    assert "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False" in script  # it takes a tenth of a core
    assert "module load python" in script
    assert "--nthreads 8" in script
    assert "tls://head:8786" in script
    assert HEADERS.get(cluster, "RequestMemory") in script
    assert cluster == "htcondor" or "long" in script


def test_a_term_that_the_batch_system_does_not_know_is_refused() -> None:
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue: pip install 'kras[dask]'")
    from kras_plugins.engines.clusters import job_terms

    with pytest.raises(ConfigError, match="unknown setting engine.dask.job.waltime") as e:
        job_terms(asked("slurm", waltime="1:00"))
    assert "did you mean 'walltime'" in e.value.hint


def test_a_scheduler_by_tls_needs_certificates(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="no distributed: pip install 'kras[dask]'")
    from kras_plugins.engines.clusters import security_of

    named = DaskOptions(scheduler="tls://head:8786")
    with pytest.raises(ConfigError, match="not set: tls_ca_file, tls_client_cert, tls_client_key"):
        security_of(named)
    with pytest.raises(ConfigError, match="engine.dask.tls_ca_file: .*gone.pem: No such file"):
        security_of(DaskOptions(scheduler="tls://head:8786", tls_ca_file=tmp_path / "gone.pem"))
    files = {name: tmp_path / name for name in ("tls_ca_file", "tls_client_cert", "tls_client_key")}
    for file in files.values():
        file.touch()
    security = security_of(DaskOptions(scheduler="tls://head:8786", **files))
    assert security is not None
    assert security.require_encryption
    assert security_of(DaskOptions(scheduler="tcp://127.0.0.1:8786")) is None
