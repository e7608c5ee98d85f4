"""The process in which `kras plugin check` runs a plug-in: a hang, crash or print affects only this process.

`python -m kras_plugins.testing.checks.worker REQUEST RESULTS`: REQUEST is JSON (see `supervise.Request`). RESULTS gets
one JSON line before the plug-in is imported, one with all cases, one when a case begins, one for its outcome, and one
at the end.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.hookspecs import GROUP, KINDS
from kras_plugins.host.child import end_with_parent
from kras_plugins.host.loose_files import import_file
from kras_plugins.host.manager import Registry, discover
from kras_plugins.testing.checks.candidate import Given, candidates
from kras_plugins.testing.checks.catalog import checks_of
from kras_plugins.testing.checks.outcome import MODULE
from kras_plugins.testing.checks.record import hooks
from kras_plugins.testing.checks.run import Outcome, noisy, run_check


def resolve(target: str, folder: Path | None = None) -> tuple[ModuleType, set[str]]:
    """The module that a target means, and the requested records in it (all if the set is empty).

    A target is the path of a Python file, `name` or `kind:name` of an installed plug-in, or an importable module.
    `folder`: where else to look for a module, once only a module can be meant; code in a folder is not imported for
    any other reason.
    Raises ConfigError if it is none of these, and what the import raises.
    """
    if target.endswith(".py") or Path(target).is_file():
        return import_file(Path(target).resolve()), set()
    kind, _, name = target.rpartition(":")
    if kind and kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}", f"kinds: {', '.join(KINDS)}")
    registry = discover()
    found = [p for p in registry.provided if p.record.name == name and kind in ("", p.kind)]
    modules = {p.plugin for p in found}
    if len(modules) > 1:
        raise ConfigError(f"{target} is provided by {' and '.join(sorted(modules))}", "name one of these modules")
    if found:
        return _module_of(found[0].plugin), {f"{p.kind}:{p.record.name}" for p in found}
    if not kind:
        entries = {e.name: e.module for e in metadata.entry_points(group=GROUP)}
        if folder is not None:  # last, so that a plug-in with the name of a library does not hide the library
            sys.path.append(str(folder))
        module = _importable(entries.get(target, target))
        if module is not None:
            return module, set()
    if target and Path(target).is_dir():
        raise ConfigError(f"{target} is a folder", "name the Python file in it, or the plug-in once it is installed")
    raise ConfigError(f"{target!r}: not an installed plug-in, Python file or module", _known(registry))


def _importable(name: str) -> ModuleType | None:
    """The module of this name; None if there is none, or only a folder that Python would take for a package."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name not in (name, name.partition(".")[0]):
            raise
        return None
    return module if getattr(module, "__file__", None) else None


def _module_of(plugin: str) -> ModuleType:
    (entry,) = {e.module for e in metadata.entry_points(group=GROUP) if e.name == plugin}
    return importlib.import_module(entry)


def _known(registry: Registry) -> str:
    known = ", ".join(f"{p.kind}:{p.record.name}" for p in registry.provided)
    broken = "".join(f"; {b.plugin} is broken: {b.cause}" for b in registry.broken)
    return f"installed: {known}{broken}"


class Noise:
    """What was written to stdout, by any code, since the last call."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        sys.stdout.flush()
        os.dup2(self._file.fileno(), 1)
        self._read = 0

    def take(self) -> str:
        """The text since the last call."""
        sys.stdout.flush()
        size = os.fstat(self._file.fileno()).st_size
        text = _read_at(self._file.fileno(), size - self._read, self._read)
        self._read = size
        return text.decode(errors="replace")


def _read_at(file: int, size: int, offset: int) -> bytes:
    """Bytes of a file that is written to at its end; Windows has no `pread`, so the place of writing moves there."""
    if hasattr(os, "pread"):
        read: bytes = os.pread(file, size, offset)
        return read
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


def lines(request: dict[str, Any], noise: Noise) -> Iterator[dict[str, Any]]:
    """The lines to write, as things happen."""
    try:
        module, wanted = resolve(request["target"], Path.cwd())
        given = _given(module, request)
        found = [s for s in candidates(module, given) if s.kind == MODULE or not wanted or s.id in wanted]
    except KrasError as e:
        yield {"error": [e.message, e.hint]}
        return
    except (Exception, SystemExit):  # noqa: BLE001 - the plug-in's import may fail in any way
        yield {"cases": [[request["target"], hooks.name, hooks.what]]}
        yield {"outcome": asdict(broken_import(request["target"], traceback.format_exc()))}
        yield {"end": True}
        return
    noise.take()  # check `cheap_import` reports what an import prints
    cases = [(s, c) for s in found for c in checks_of(s)]
    yield {"cases": [[s.id, c.name, c.what] for s, c in cases]}
    for candidate, check in cases:
        if f"{candidate.id}/{check.name}" in request["done"]:
            continue
        yield {"begin": [candidate.id, check.name, check.what, check.says]}
        yield {"outcome": asdict(noisy(run_check(check, candidate), noise.take()))}
    yield {"end": True}


def broken_import(target: str, trace: str) -> Outcome:
    """The outcome for a plug-in that cannot be imported, so that nothing else can be checked."""
    came = trace.strip().splitlines()[-1]
    return Outcome(
        subject=target, check=hooks.name, what=hooks.what, status="failed", expected="an import", came=came,
        says=hooks.says, trace=trace,
    )  # fmt: skip


def _given(module: ModuleType, request: dict[str, Any]) -> Given:
    """Options and samples for existing records. Raises ConfigError for options of a record that does not exist."""
    ids = {s.id for s in candidates(module, Given()) if s.kind != MODULE}
    strange = sorted(set(request["asked"]) - ids)
    if strange and ids:
        raise ConfigError(f"{', '.join(strange)}: not in {module.__name__}", f"it has {', '.join(sorted(ids))}")
    options = {name: values for name, values in request["options"].items() if name in ids}
    files = request["samples"]
    samples = {name: files for name in ids if files and name.partition(":")[0] in ("reader", "extractor", "profiler")}
    return Given(options=options, samples=samples, triton=request["triton"])


def _write(results: IO[str], line: dict[str, Any]) -> None:
    results.write(json.dumps(line) + "\n")
    results.flush()


def main() -> None:
    """Run the checks of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path[:0] = [p for p in request["path"] if p not in sys.path]
    end_with_parent()
    noise = Noise()
    with Path(sys.argv[2]).open("a", encoding="utf-8", newline="\n") as results:
        _write(results, {"ready": True})
        for line in lines(request, noise):
            _write(results, line)
    os._exit(0)  # do not wait for threads that a plug-in left behind


if __name__ == "__main__":
    main()
