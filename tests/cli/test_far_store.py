"""`--cache` names a store on object storage: the same results, shared by machines, and no credentials are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cohorts import kras
from range_server import range_server

from kras_plugins.testing import draw_slide

COLOR = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="means", tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3,
                          create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"))
"""
"""An extractor without a network."""
OPTIONS = ("--extractor", "color", "--plugin", "color.py", "--workers", "1")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("far")
    (folder / "color.py").write_text(COLOR)
    draw_slide(folder / "slide.tiff", seed=3, size_um=(512.0, 512.0))
    return folder / "slide.tiff"


def embed(slide: Path, out: Path, cache: str, machine: Path) -> Mapping[str, bytes]:
    """The bags that `kras embed` writes on a machine whose copies lie in `machine`."""
    words = ("embed", slide, "--out", out, "--cache", cache, *OPTIONS)
    ran = kras(*words, cwd=slide.parent, store=machine / "unused", KRAS_LOCAL_CACHE=str(machine))
    assert ran.returncode == 0, ran.stderr
    return {file.name: file.read_bytes() for file in out.glob("*.h5")}


def test_two_machines_share_a_bucket_and_a_folder_gives_the_same_bytes(
    slide: Path, bucket: str, tmp_path: Path
) -> None:
    cache = f"{bucket}/store"
    local = embed(slide, tmp_path / "local", str(tmp_path / "folder"), tmp_path / "none")
    first = embed(slide, tmp_path / "first", cache, tmp_path / "one")
    assert first == local and len(first) == 1
    listed = json.loads(kras("cache", "list", "--cache", cache, "--json", cwd=tmp_path, store=tmp_path).stdout)
    assert listed["root"] == cache
    kinds = {"bag": 1, "tissue": 1}
    assert {kind: entry["artifacts"] for kind, entry in listed["kinds"].items() if kind in kinds} == kinds
    assert embed(slide, tmp_path / "second", cache, tmp_path / "two") == local
    again = json.loads(kras("cache", "list", "--cache", cache, "--json", cwd=tmp_path, store=tmp_path).stdout)
    assert again["kinds"] == listed["kinds"]
    manifest = (tmp_path / "second" / "manifest.json").read_text()
    assert f'"{cache}"' in manifest and str(tmp_path) not in manifest
    ran = kras("cache", "prune", "--keep", "0", "--cache", cache, "--json", cwd=tmp_path, store=tmp_path)
    assert json.loads(ran.stdout)["removed"] == sum(entry["artifacts"] for entry in listed["kinds"].values())
    assert not json.loads(kras("cache", "list", "--cache", cache, "--json", cwd=tmp_path, store=tmp_path).stdout)[
        "kinds"
    ]


def test_a_settings_file_and_the_environment_name_a_bucket_too(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text(f'[run]\ncache = "{bucket}/toml"\n')
    ran = kras("cache", "list", "--json", cwd=tmp_path, store=tmp_path)
    assert json.loads(ran.stdout)["root"] == f"{bucket}/toml"
    (tmp_path / "kras.toml").write_text('[run]\ncache = "folder"\nout = "ftp://x"\n')
    ran = kras("cache", "list", "--json", cwd=tmp_path, store=tmp_path)
    assert json.loads(ran.stdout)["root"] == str(tmp_path / "folder")
    (tmp_path / "kras.toml").write_text("[run]\ncache = 5\n")
    ran = kras("cache", "list", cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 1 and "run.cache: is neither a folder nor an address" in " ".join(ran.stderr.split())
    (tmp_path / "kras.toml").unlink()
    ran = kras("cache", "list", "--json", cwd=tmp_path, store=tmp_path, KRAS_CACHE=f"{bucket}/environment")
    assert json.loads(ran.stdout)["root"] == f"{bucket}/environment"


@pytest.mark.parametrize(
    ("cache", "why"), [("ftp://host/x", "ftp:// cannot be read"), ("s3:///x", "names no host or bucket")]
)
def test_an_address_that_is_none_of_a_store_is_refused(tmp_path: Path, cache: str, why: str) -> None:
    ran = kras("cache", "list", "--cache", cache, cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 1 and why in " ".join(ran.stderr.split())


def test_no_credentials_reach_messages_manifests_and_files(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with range_server(tmp_path / "served") as (address, behavior):
        cache = f"{address.replace('//', '//me:hunter2@')}/store?sig=hunter3"
        embed(slide, tmp_path / "out", cache, tmp_path / "machine")
        behavior.statuses += [403] * 50
        words = ("embed", slide, "--out", tmp_path / "more", "--cache", cache, *OPTIONS)
        ran = kras(*words, cwd=slide.parent, store=tmp_path, KRAS_LOCAL_CACHE=str(tmp_path / "new"), KRAS_DEBUG="1")
        assert ran.returncode == 1 and "these credentials may not do that" in " ".join(ran.stderr.split())
        assert not [word for word in ("hunter2", "hunter3", "me:") if word in ran.stderr + ran.stdout]
        assert behavior.headers[-1]["authorization"].startswith("Basic ")
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    told = [file for file in written if b"hunter" in file.read_bytes() or "hunter" in str(file)]
    assert told == []
