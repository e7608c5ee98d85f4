"""The layout is what a newcomer reads first: one noun per kind in every layer, small files, no back doors."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kras_plugins.hookspecs import KINDS
from kras_plugins.host.manager import discover

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENTRY_POINTS = PYPROJECT["project"]["entry-points"]["kras"]
SOURCES = sorted(file for top in ("kras_plugins", "plugins", "examples") for file in (ROOT / top).rglob("*.py"))


def test_each_kind_is_one_noun_in_every_layer() -> None:
    homes = (
        "kras_plugins/contracts/{}.py",
        "kras_plugins/testing/checks/{}.py",
        "kras_plugins/scaffold/templates/{}/module.py.j2",
        "docs/plugins/{}.md",
    )
    missing = [home.format(kind) for kind in KINDS for home in homes if not (ROOT / home.format(kind)).is_file()]
    assert missing == []
    for p in discover().provided:
        if p.distribution == "kras":
            assert p.plugin == f"kras_{p.kind}_{p.record.name}"
            assert (ROOT / "plugins" / p.plugin / "__init__.py").is_file()
            assert (ROOT / "docs" / "plugins" / f"{p.kind}-{p.record.name}.md").is_file()


def test_an_example_is_named_as_a_bundled_plugin_is_and_checked_for_types() -> None:
    for folder in (f for f in (ROOT / "examples").iterdir() if f.is_dir()):
        (module,) = folder.glob("*.py")
        assert folder.name.split("-")[:2] in [["kras", kind] for kind in KINDS]
        assert module.stem == folder.name.replace("-", "_")
        assert f"examples/{folder.name}" in PYPROJECT["tool"]["mypy"]["mypy_path"].split(":")


def test_every_bundled_package_is_an_entry_point_and_in_the_wheel() -> None:
    folders = sorted(f.parent.name for f in (ROOT / "plugins").glob("*/__init__.py"))
    assert sorted(ENTRY_POINTS) == folders
    assert all(name == module for name, module in ENTRY_POINTS.items())
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == sorted(["kras_command.py", "kras_plugins", *(f"plugins/{f}" for f in folders)])


def imports(file: Path) -> list[str]:
    """Every module a file imports, at any depth."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_the_host_imports_no_plugin_and_no_plugin_imports_another() -> None:
    for file in SOURCES:
        own = file.relative_to(ROOT / "plugins").parts[0] if file.is_relative_to(ROOT / "plugins") else ""
        others = [m for m in imports(file) if m.split(".")[0] in ENTRY_POINTS and m.split(".")[0] != own]
        assert others == [], f"{file}: {others}"


def test_nothing_is_pickled() -> None:
    for file in SOURCES:
        assert not {"pickle", "joblib", "dill", "cloudpickle"} & {m.split(".")[0] for m in imports(file)}, file


def test_no_file_holds_more_than_four_hundred_lines() -> None:
    long = {str(f.relative_to(ROOT)): n for f in SOURCES if (n := len(f.read_text().splitlines())) > 400}
    assert long == {}


def test_no_benchmark_hides_an_installed_package() -> None:
    """A script's own folder comes first: `benchmarks/triton.py` was what torch found for triton."""
    for file in (ROOT / "benchmarks").glob("*.py"):
        found = importlib.util.find_spec(file.stem)
        assert found is None or found.origin is None or Path(found.origin) == file, file


def test_no_function_of_the_command_line_is_longer_than_eighty_lines() -> None:
    """Signature and decorators included: what is longer does more than parse, call and print."""
    long = {}
    for file in (ROOT / "kras_plugins" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                long[f"{file.name}: {node.name}"] = (node.end_lineno or 0) - first + 1
    assert {name: n for name, n in long.items() if n > 80} == {}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded when it ends."""
    told = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr));" + code
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.strip().splitlines()[-1].split()}


COMMAND = "sys.argv = ['kras', *{!r}]; from kras_plugins.cli.app import main; main()"


@pytest.mark.parametrize("command", [["--help"], ["plugin", "list"], ["run", "--help"]])
def test_asking_for_help_or_a_list_imports_no_torch(command: list[str]) -> None:
    assert "torch" not in loaded_by(COMMAND.format(command))


@pytest.mark.parametrize(
    "code",
    [
        COMMAND.format(["--help"]),
        COMMAND.format(["--version"]),
        "import kras_plugins",
        "from kras_plugins import study",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    heavy = {"h5py", "jinja2", "matplotlib", "onnx", "pandas", "PIL", "pyarrow", "scipy", "skimage", "sklearn", "torch"}
    assert loaded_by(code) & heavy == set()


def test_nothing_lies_loose_at_the_top() -> None:
    loose = {f.stem for f in (ROOT / "kras_plugins").glob("*.py")}
    assert loose == {"__init__", "hookspecs", "data", "errors", "urls", "cores", "store", "manifest", "bags"}


def test_settings_do_not_travel_as_dictionaries() -> None:
    """JSON values may be given back; what a function of a study is given is typed."""
    for file in (f for top in ("study", "cli") for f in (ROOT / "kras_plugins" / top).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.args, *node.args.kwonlyargs]
                told = [a.arg for a in given if a.annotation and ast.unparse(a.annotation).startswith("dict[str, Any]")]
                assert told == [], f"{file}: {node.name}"
