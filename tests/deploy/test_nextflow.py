"""The pipeline of `deploy/nextflow`: reftrace's parser of Nextflow reads it, and `kras` knows what it calls."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from deployed import check, commands
from services import need

FILE = Path(__file__).resolve().parents[2] / "deploy/nextflow/main.nf"


def parsed(file: Path) -> Any:
    need(find_spec("reftrace") is not None, "reftrace", "pip install reftrace")
    from reftrace import Module

    return Module.from_file(str(file))


def test_it_says_that_we_did_not_run_it() -> None:
    assert FILE.read_text().splitlines()[1].startswith("// Not run by us. ")


def test_nextflows_grammar_takes_it_and_each_directive_is_one_of_nextflow() -> None:
    found = parsed(FILE)
    assert [one.name for one in found.processes] == ["FEATURES", "STUDY"]
    assert [unknown for one in found.processes for unknown in one.unknowns] == []
    assert [one.first_cpus.num for one in found.processes] == [8, 8]
    assert "shards" in {param.name for param in found.params}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("workflow {", "workflow {{"), ("    cpus 8", "    cpuz 8")],
    ids=["a brace too many", "a directive of no name"],
)
def test_what_is_wrong_is_found(line: str, wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "main.nf"
    file.write_text(FILE.read_text().replace(line, wrong))
    found = parsed(file)
    assert not hasattr(found, "processes") or any(one.unknowns for one in found.processes)


def test_kras_takes_the_words_of_both_processes_and_only_the_shard_differs() -> None:
    shard, last = commands(FILE.read_text())
    for words in (shard, last):
        check(words)
    assert shard == [*last, "--shard", "1/1"]


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (3, 0), (1, 1)])
def test_slides_that_were_set_aside_do_not_end_the_pipeline_and_errors_do(code: int, ends: int, tmp_path: Path) -> None:
    """The script as Nextflow renders it, in bash with -ue; `kras` is one that ends with a given code."""
    script = FILE.read_text().split('"""')[1].replace("${task.cpus}", "2").replace("${settings}", "kras.toml")
    script = script.replace("${shard}", "1").replace("${params.shards}", "4").replace("\\$", "$")
    (tmp_path / "kras").write_text(f"#!/bin/sh\necho $* > said\nexit {code}\n")
    (tmp_path / "kras").chmod(0o755)
    done = subprocess.run(
        ["bash", "-ue", "-c", script], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True
    )
    assert done.returncode == ends
    assert (tmp_path / "said").read_text() == "run --config kras.toml --shard 1/4\n"
