"""Slides through a real Triton server: the same features as in process, and no slide lost when the server dies."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from cohorts import command, environment, kras, settle
from networks import lay_networks
from triton_server import ensure_installed, own_ports

from kras_plugins.serving.server import Server, serving
from kras_plugins.testing import draw_slide

SLIDES = ("a.tiff", "b.tiff", "c.tiff")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three drawn slides, settings, and a repository exported for them by the command."""
    folder = tmp_path_factory.mktemp("run-on-triton")
    for i, name in enumerate(SLIDES):
        draw_slide(folder / name, seed=i, size_um=(640.0, 640.0))
    settle(folder)
    ensure_installed()
    done = kras("model", "export", "vit", "cells", "--repository", "models", cwd=folder, store=folder / "exports")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    with serving(place / "models", ports=own_ports(), precision="f32") as found:
        yield found


def words(stage: str, out: Path, url: str | None, *more: str, slides: Sequence[str] = SLIDES) -> list[str | Path]:
    where = ("--backend", "triton", "-o", f"backend.triton.url={url}") if url else ("-o", "backend.local.precision=f32")
    return [stage, *slides, "--out", out, *where, *more]


def bags(out: Path) -> dict[str, Any]:
    found = {}
    for name in SLIDES:
        with h5py.File(out / f"{Path(name).stem}.h5") as f:
            found[name] = (f["features"][:].reshape(-1, f["features"].shape[-1]), f["coords"][:])
    return found


@pytest.fixture(scope="module")
def embedded(place: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an undisturbed run through the server gives."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = kras(*words("embed", out, server.url), cwd=place, store=out / "store")
    assert done.returncode == 0, done.stderr
    return bags(out)


def test_features_are_those_of_backend_local_and_the_server_made_them(
    place: Path, server: Server, embedded: Any, tmp_path: Path
) -> None:
    from kras_backend_triton import TritonOptions
    from kras_backend_triton.endpoint import Endpoint

    lay_networks(tmp_path / "store")
    done = kras(*words("embed", tmp_path, None), cwd=place, store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    for name, (features, coords) in bags(tmp_path).items():
        got, at = embedded[name]
        np.testing.assert_array_equal(at, coords)
        np.testing.assert_allclose(got, features, rtol=0, atol=2e-3 * np.abs(features).max())
    endpoint = Endpoint(server.url, TritonOptions())
    assert endpoint.statistics("vit", 1)["tiles"] >= sum(len(f) for f, _ in embedded.values())
    endpoint.close()


def test_cells_are_those_of_backend_local(place: Path, server: Server, tmp_path: Path) -> None:
    lay_networks(tmp_path / "local-store")
    for name, url in (("served", server.url), ("local", None)):
        arguments = words("profile", tmp_path / name, url, slides=SLIDES[:1])
        done = kras(*arguments, cwd=place, store=tmp_path / f"{name}-store")
        assert done.returncode == 0, done.stderr
    served, local = (pq.read_table(next((tmp_path / n).rglob("cells.parquet"))) for n in ("served", "local"))
    assert abs(served.num_rows - local.num_rows) <= 0.005 * local.num_rows
    assert local.num_rows > 100
    served, local = (
        np.genfromtxt(tmp_path / n / "features.csv", delimiter=",", skip_header=1)[1:] for n in ("served", "local")
    )
    np.testing.assert_array_equal(np.isnan(served), np.isnan(local))


@pytest.mark.long
def test_a_server_killed_and_restarted_in_mid_run_changes_nothing(place: Path, embedded: Any, tmp_path: Path) -> None:
    ports = own_ports()
    url = f"127.0.0.1:{ports['grpc']}"
    with serving(place / "models", ports=ports, precision="f32") as first:
        run = start(words("embed", tmp_path, url), place, tmp_path / "store")
        wait_for_bag(tmp_path / "store", run)
        first.process.kill()
    with serving(place / "models", ports=ports, precision="f32"):
        _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert_same(bags(tmp_path), embedded)


@pytest.mark.long
def test_past_the_budget_finished_slides_are_kept_and_a_rerun_goes_on(
    place: Path, embedded: Any, tmp_path: Path
) -> None:
    ports = own_ports()
    url = f"127.0.0.1:{ports['grpc']}"
    arguments = words("embed", tmp_path, url, "-o", "backend.triton.patience_s=2")
    with serving(place / "models", ports=ports, precision="f32") as first:
        run = start(arguments, place, tmp_path / "store")
        wait_for_bag(tmp_path / "store", run)
        first.process.kill()
        _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "finished slides are kept" in said
    kept = list((tmp_path / "store").glob("*/*/bag.h5"))
    assert kept
    times = {f: f.stat().st_mtime_ns for f in kept}
    with serving(place / "models", ports=ports, precision="f32"):
        done = kras(*arguments, cwd=place, store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert all(f.stat().st_mtime_ns == t for f, t in times.items())
    assert_same(bags(tmp_path), embedded)


def test_the_parity_gate_passes_for_both_models(place: Path, server: Server, tmp_path: Path) -> None:
    url = f"backend.triton.url={server.url}"
    lay_networks(tmp_path)
    done = kras("model", "check", "vit", "cells", "--count", "6", "-o", url, "--json", cwd=place, store=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(r["model"], r["against"].split()[0]) for r in rows} >= {("vit", "PyTorch"), ("vit", "local")}
    assert {r["output"] for r in rows if r["model"] == "cells"} >= {"nucleus", "distance"}
    assert all(r["passed"] for r in rows)
    exact = [r for r in rows if r["against"].startswith("PyTorch")]
    assert all(0 < r["error"] < 1e-3 and r["cosine"] > 0.99999 for r in exact if r["model"] == "vit")
    # Maps are levels of 255: one that lies between two may go to either.
    assert all(r["error"] <= 1 / 255 and r["cosine"] > 0.99999 for r in exact if r["model"] == "cells")


THIRD_PARTY = """
from kras_plugins import ExtractorPlugin, ModelSpec, TensorSpec, TileSpec, Weights, hookimpl


def build(_weights):
    import torch

    class Colors(torch.nn.Module):
        def forward(self, tiles):
            return tiles.float().mean(dim=(1, 2))

    return Colors()


SPEC = ModelSpec(
    name="colors", inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(128, 128, 3)),),
    outputs=(TensorSpec(name="features", dtype="float32", shape=(3,)),), build=build,
    weights=Weights(source="builtin", licence="MIT"),
)


@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="colors", summary="mean colors", tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3,
        models=lambda o: (SPEC,), create=lambda o, infer: lambda tiles: infer["colors"]({"tiles": tiles})["features"],
    )
"""


def test_a_third_partys_model_is_exported_and_served_without_code_of_its_own(place: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THIRD_PARTY)
    plugin = ("--plugin", str(tmp_path / "theirs.py"))
    done = kras("model", "export", "colors", "--repository", "models", *plugin, cwd=tmp_path, store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    found = {}
    with serving(tmp_path / "models", ports=own_ports(), precision="f32") as server:
        for name, url in (("served", server.url), ("local", None)):
            arguments = words("embed", tmp_path / name, url, "--extractor", "colors", *plugin, slides=SLIDES[:1])
            done = kras(*arguments, cwd=place, store=tmp_path / f"{name}-store")
            assert done.returncode == 0, done.stderr
            with h5py.File(tmp_path / name / "a.h5") as f:
                found[name] = f["features"][:]
    np.testing.assert_allclose(found["served"], found["local"], rtol=1e-4)


def start(arguments: list[str | Path], cwd: Path, store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(store),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for_bag(store: Path, run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not list(store.glob("*/*/bag.h5")) and run.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert run.poll() is None, run.communicate()


def assert_same(got: Any, wanted: Any) -> None:
    for name, (features, coords) in wanted.items():
        np.testing.assert_array_equal(got[name][1], coords)
        np.testing.assert_array_equal(got[name][0], features)
