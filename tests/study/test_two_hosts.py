"""A study on the workers of two hosts with a network between them: encrypted, and the same bytes as on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cohorts import kras, kras_process, write_rows
from dask_cluster import cluster
from hosts import Host, two_hosts

from kras_plugins.testing import draw_slide

PLUGIN = """
import os, time
from pathlib import Path
from kras_plugins import ExtractorPlugin, Options, TileSpec, hookimpl

KRAS_API = 1

def made(options, infer):
    def color(tiles):
        if folder := os.environ.get("TEST_SEEN_BY"):  # which host computes
            (Path(folder) / os.readlink("/proc/self/ns/net")).touch()
            time.sleep(0.2)
        return tiles.mean((1, 2)).astype("float32")
    return color

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="mean color", options=Options,
                          tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3, create=made)
"""
RUN = ["run", "cohort.csv", "--extractor", "color", "--plugin", "color.py", "--classifiers", "meanmax", "--folds", "2",
       "--workers", "1"]  # fmt: skip


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    (tmp_path / "color.py").write_text(PLUGIN)
    rows = []
    for i in range(12):
        draw_slide(tmp_path / f"s{i}.tiff", seed=i, size_um=(384.0, 384.0))
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "path": f"s{i}.tiff", "g12c": str(i % 2)})
    write_rows(tmp_path / "cohort.csv", rows)
    return tmp_path


def certificates(folder: Path) -> tuple[list[str], list[str]]:
    """Words of scheduler and workers, and of the command, for certificates made here."""
    from distributed.security import Security

    made, files = Security.temporary(), {}
    for name in ("tls_ca_file", "tls_client_cert", "tls_client_key"):
        files[name] = folder / f"{name}.pem"
        files[name].write_text(getattr(made, name))
    ca, cert, key = map(str, files.values())
    return (
        ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key],
        [word for name, file in files.items() for word in ("-o", f"engine.dask.{name}={file}")],
    )


def test_predictions_of_two_hosts_are_those_of_one_machine(hosts: tuple[Host, Host], cohort: Path) -> None:
    pytest.importorskip("distributed", reason="no distributed: pip install 'kras[dask]'")
    first = hosts[0]
    seen = cohort / "seen"
    seen.mkdir()
    there_words, here_words = certificates(cohort)
    with cluster(cohort / "cluster", workers=0, words=there_words, host=first) as there:
        for host in hosts:
            there.add(host=host, TEST_SEEN_BY=str(seen))
        assert there.address.startswith(f"tls://{first.address}:")
        here = kras(*RUN, "--out", "here", cwd=cohort, store=cohort / "store-here")
        assert here.returncode == 0, here.stderr
        there.joined(0)
        there.joined(1)
        dask = kras_process(
            *RUN, "--out", "dask", "--engine", "dask", "-o", f"engine.dask.scheduler={there.address}", *here_words,
            cwd=cohort, store=cohort / "store-dask", enter=first.enter,
        )  # fmt: skip
    assert dask.returncode == 0, dask.stderr
    assert len(list(seen.iterdir())) == 2  # both hosts computed
    for name in ("predictions.csv", "metrics.json"):
        assert (cohort / "here" / name).read_bytes() == (cohort / "dask" / name).read_bytes(), name
