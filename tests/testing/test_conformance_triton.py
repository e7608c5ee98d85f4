"""What needs a real Triton server: parity of a plug-in's models there, and the backend itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_plugins import CONFORMING, Broken
from triton_server import ensure_installed, own_ports

import kras_backend_triton
from kras_plugins.host.loose_files import import_file
from kras_plugins.models.repository import export_model
from kras_plugins.serving.server import serving
from kras_plugins.testing.checks.candidate import Given, candidates
from kras_plugins.testing.checks.catalog import checks_of
from kras_plugins.testing.checks.probe import probe_model
from kras_plugins.testing.checks.run import Outcome, run_check

OTHER_NUMBERS = Broken("triton_parity", "network", "torch.manual_seed(0)", "torch.manual_seed(1)")
"""A model that describes itself like the served one but computes something else."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("conformance") / "models"
    folder.mkdir()
    (spec,) = import_file(CONFORMING / "network.py").models(None)
    for model in (spec, probe_model()):
        export_model(model, folder)
    ensure_installed()
    with serving(folder, ports=own_ports(), precision="f32") as running:
        yield running.url


def parity(file: Path, url: str) -> Outcome:
    candidate = candidates(import_file(file), Given(triton=url))[1]
    check = next(c for c in checks_of(candidate) if c.name == "triton_parity")
    return run_check(check, candidate)


def test_a_served_model_is_held_against_pytorch(server: str, tmp_path: Path) -> None:
    assert parity(CONFORMING / "network.py", server).status == "passed"
    (tmp_path / "network.py").write_text(OTHER_NUMBERS.source)
    outcome = parity(tmp_path / "network.py", server)
    assert outcome.status == "failed", outcome
    assert "cosine" in outcome.expected


def test_the_backend_conforms(server: str) -> None:
    given = {"backend:triton": {"url": server, "patience_s": 20.0}}
    found = [s for s in candidates(kras_backend_triton, Given(options=given)) if s.kind == "backend"]
    outcomes = [run_check(check, candidate) for candidate in found for check in checks_of(candidate)]
    assert [o.message for o in outcomes if o.status != "passed"] == []
