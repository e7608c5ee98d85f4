"""Discovery: one broken plug-in never takes another down."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest
from bad_plugin import installed

from kras_plugins.errors import ConfigError
from kras_plugins.host.loose_files import import_file, module_name
from kras_plugins.host.manager import discover

BUNDLED = {
    "reader": ["dicomweb", "openslide", "tiff"],
    "extractor": ["h5", "vit"],
    "profiler": ["cells", "import"],
    "classifier": ["he", "lgbm", "meanmax", "mlp", "rf"],
    "backend": ["local", "triton"],
}

GOOD = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="mine", summary="mean color", tile=lambda o: TileSpec(px=32, mpp=1.0), dim=lambda o: 3,
        create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"),
    )
"""


def loose(tmp_path: Path, name: str, code: str) -> Path:
    file = tmp_path / f"{name}.py"
    file.write_text(textwrap.dedent(code))
    return file


def test_every_bundled_plugin_comes_in_by_its_entry_point() -> None:
    registry = discover()
    assert {kind: registry.names(kind) for kind in BUNDLED} == BUNDLED
    assert registry.broken == ()
    assert {(p.distribution, p.version) for p in registry.provided} == {("kras", metadata.version("kras"))}


def test_a_loose_file_is_a_plugin(tmp_path: Path) -> None:
    registry = discover(files=[loose(tmp_path, "mine", GOOD)])
    assert "mine" in registry.names("extractor")
    assert registry.find("extractor", "mine").plugin == "mine"


def test_the_host_knows_where_a_record_comes_from_and_leaves_the_record_as_it_is(tmp_path: Path) -> None:
    code = GOOD.replace("@hookimpl", "made = []\n\n@hookimpl").replace("yield Ex", "made.append(Ex")
    file = loose(tmp_path, "mine", f"{code.rstrip()})\n    return made\n")
    mine, vit = (discover(files=[file]).find("extractor", name) for name in ("mine", "vit"))
    assert (mine.origin, vit.origin) == (str(file), f"kras {metadata.version('kras')}")
    assert mine.record.origin == mine.origin  # until API 2
    assert {record.origin for record in sys.modules[module_name(file)].made} == {""}


def test_a_loose_file_is_imported_once_while_it_does_not_change_and_two_of_one_name_stay_apart(tmp_path: Path) -> None:
    file = loose(tmp_path, "mine", GOOD)
    (tmp_path / "other").mkdir()
    twin = loose(tmp_path / "other", "mine", GOOD.replace("mine", "twin"))
    first = import_file(file)
    assert import_file(file) is first and import_file(twin) is not first
    assert sys.modules[module_name(file)] is first
    file.write_text(GOOD + "\nCHANGED = True\n")
    assert import_file(file).CHANGED


def test_a_loose_file_that_changes_within_a_second_is_imported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte code identifies its source only by size and second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for value in (1, 2):
        file = loose(tmp_path, "mine", f"{GOOD}\nVALUE = {value}\n")
        os.utime(file, (1e9, 1e9))
        assert vars(import_file(file))["VALUE"] == value
    assert [f.name for f in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise RuntimeError('no driver')", "RuntimeError: no driver"),
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (GOOD.replace("kras_extractors", "kras_extractor"), "did you mean kras_extractors"),
        (GOOD.replace("@hookimpl", ""), "decorate it"),
        (GOOD.replace("summary=", "sumary="), "TypeError"),
        (GOOD.replace('name="mine"', 'name="Mine!"'), "not usable"),
        (GOOD.replace("yield ExtractorPlugin(", "yield dict("), "yield ExtractorPlugin records"),
        (GOOD.replace("    yield", "    1 / 0\n    yield"), "ZeroDivisionError"),
        ("x = 1", "none of the hooks"),
        (GOOD.replace("yield ExtractorPlugin(", "return ExtractorPlugin("), "returned a record (yield it)"),
        (GOOD.replace("    yield", "    return\n    yield"), "its hooks yield nothing"),
    ],
)
def test_a_broken_plugin_is_named_with_its_cause_and_the_others_go_on(tmp_path: Path, code: str, cause: str) -> None:
    registry = discover(
        files=[loose(tmp_path, "bad", code), loose(tmp_path, "good", GOOD.replace('"mine"', '"other"'))]
    )
    (broken,) = registry.broken
    assert broken.plugin == "bad"
    assert cause in broken.cause
    assert "other" in registry.names("extractor")
    assert {kind: [n for n in registry.names(kind) if n != "other"] for kind in BUNDLED} == BUNDLED


def test_a_generator_that_fails_halfway_leaves_none_of_its_records(tmp_path: Path) -> None:
    registry = discover(files=[loose(tmp_path, "half", GOOD + "    raise OSError('gone')\n")])
    assert "mine" not in registry.names("extractor")
    assert "gone" in registry.broken[0].cause


def test_two_providers_of_one_name_are_both_named(tmp_path: Path) -> None:
    registry = discover(files=[loose(tmp_path, "first", GOOD), loose(tmp_path, "second", GOOD)])
    with pytest.raises(ConfigError, match=r"extractor 'mine' is provided twice: by first .* and by second"):
        registry.find("extractor", "mine")
    assert registry.find("extractor", "vit")
    assert [e.message.split(":")[0] for e in registry.clashes()] == ["extractor 'mine' is provided twice"]


@pytest.mark.parametrize("block", ["kras_classifier_rf", "classifier:rf"])
def test_blocking_one_plugin_changes_exactly_that(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {(p.kind, p.record.name) for p in discover().provided}
    monkeypatch.setenv("KRAS_BLOCK", block)
    assert everything - {(p.kind, p.record.name) for p in discover().provided} == {("classifier", "rf")}


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as e:
        discover().find("classifier", "lgmb")
    assert "did you mean 'lgbm'" in e.value.hint


def test_listing_plugins_imports_no_torch() -> None:
    code = "import sys; from kras_plugins.host.manager import discover; discover(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_third_party_distribution_comes_and_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    info = site / "kras_third-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "kras_third.py").write_text(GOOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kras-third\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[kras]\nkras_third = kras_third\n")
    before = {(p.kind, p.record.name) for p in discover().provided}
    monkeypatch.syspath_prepend(str(site))
    installed = discover()
    found = installed.find("extractor", "mine")
    assert (found.distribution, found.version) == ("kras-third", "1.2")
    assert {(p.kind, p.record.name) for p in installed.provided} - before == {("extractor", "mine")}
    monkeypatch.undo()
    assert {(p.kind, p.record.name) for p in discover().provided} == before


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("entry_points.txt", b"[kras]\nkras_theirs\n"),
        ("entry_points.txt", b"[kras]\nkras_theirs = \xff\n"),
        ("METADATA", b"Metadata-Version: 2.1\nName: kras-theirs\nVersion: 1.2\nSummary: \xff\n"),
    ],
)
def test_a_distribution_whose_metadata_cannot_be_read_is_broken_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes
) -> None:
    installed(tmp_path, "kras-theirs", GOOD)
    (tmp_path / "kras_theirs-1.2.dist-info" / file).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = discover()
    assert {kind: registry.names(kind) for kind in BUNDLED} == BUNDLED
    (broken,) = registry.broken
    assert "theirs" in f"{broken.plugin} {broken.distribution}"
    assert file in broken.cause or "utf-8" in broken.cause


def test_a_distribution_without_a_name_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "kras-theirs", GOOD)
    (tmp_path / "kras_theirs-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert discover().find("extractor", "mine").origin == "unknown unknown"
