"""What is under test: a plug-in module, one record of it, and what the checks of that record share."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from kras_plugins.contracts.base import Options, PluginRecord
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.config import Config
from kras_plugins.host.loose_files import import_file, module_name
from kras_plugins.testing.checks.outcome import MODULE, NotApplicable, told

if TYPE_CHECKING:
    from kras_plugins.contracts.model import ModelSpec
    from kras_plugins.testing.checks.reference import Reference

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an author adds to a module: options and samples by `kind:name`; `triton`: HOST:PORT of a server.

    A sample is a path, a SlideRef, a (path, pixels) pair for readers, or what the checks of the kind ask for.
    """

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    triton: str = ""


class Candidate:
    """One record (or, without one, the module as a whole) with what its checks share, made once.

    `folder` is for files of the checks; it is removed with the candidate.
    """

    def __init__(self, module: ModuleType, kind: str, record: PluginRecord | None, given: Given) -> None:
        self.module = module
        self.kind = kind
        self._record = record
        self.id = module.__name__ if record is None else f"{kind}:{record.name}"
        self.samples = tuple(given.samples.get(self.id, ()))
        self.triton = given.triton
        self._given = dict(given.options.get(self.id, {}))
        self._once: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="kras-conformance-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def kinds(self) -> set[str]:
        """What checks may ask for: the kind, and whether it is a `live` or a `loading` record of its kind."""
        found = {self.kind}
        for word, made in (("live", "tile"), ("loading", "load")):
            if getattr(self._record, made, None) is not None:
                found.add(f"{word} {self.kind}")
        return found

    @property
    def record(self) -> Any:
        """The record under test."""
        assert self._record is not None
        return self._record

    @property
    def options(self) -> Options:
        """The record's options as the host would make them. Raises NotApplicable if the given ones are not valid."""
        config = Config({self.kind: {self.record.name: self._given}})
        return self.need("options", lambda: config.options_for(self.kind, self.record), "options_valid")

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Make something at the first call; later calls return the same object or raise the same exception."""
        if what not in self._once:
            try:
                self._once[what] = (make(), None)
            except Exception as e:  # noqa: BLE001 - it is raised below, and again in later calls
                self._once[what] = (None, e)
        value, error = self._once[what]
        if error is not None:
            raise error
        made: T = value
        return made

    def need(self, what: str, make: Callable[[], T], shown_by: str) -> T:
        """`once` for what another check is about: NotApplicable if it fails, as check `shown_by` reports it."""
        try:
            return self.once(what, make)
        except NotApplicable:
            raise
        except Exception as e:
            raise NotApplicable(f"see check {shown_by}: {told(e)}") from e

    def forget(self, what: str) -> None:
        """Let something be made again when it is next needed."""
        self._once.pop(what, None)

    def at_end(self, close: Callable[[], object]) -> None:
        """Close something at the end of the candidate."""
        weakref.finalize(self, close)

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The networks of an extractor or profiler."""
        return self.need("specs", lambda: tuple(self.record.models(self.options)), "models_described")

    @property
    def infer(self) -> Mapping[str, Reference]:
        """One reference engine for each network. NotApplicable if weights are missing or a model cannot be exported."""
        from kras_plugins.testing.checks.reference import Reference

        return self.need("infer", lambda: {s.name: Reference(s, self.onnx(s)) for s in self.specs}, "exported")

    def onnx(self, spec: ModelSpec) -> Path:
        """The model's ONNX file, made once, in the candidate's folder: code may have changed since a store was made.

        Raises NotApplicable if weights are not on this machine, and what the export raises.
        """
        from kras_plugins.models.export import onnx_file
        from kras_plugins.store import Store
        from kras_plugins.testing.checks.reference import present

        present(spec)
        return self.once(f"onnx {spec.name}", lambda: onnx_file(spec, Store(self.folder / "store")))

    def create(self) -> Any:
        """A new extractor function or profiler on the reference engines. Raises what the plug-in raises."""
        return self.record.assemble(self.options, self.infer)

    @property
    def made(self) -> Any:
        """The extractor function or profiler that checks share."""
        return self.need("made", self.create, "created")


def candidates(module: ModuleType, given: Given) -> list[Candidate]:
    """The module itself and each of its records; only the module if its hooks fail, which check `hooks` reports.

    Raises ValueError for options or samples of a record that does not exist.
    """
    try:
        records = records_of(module)
    except Exception:  # noqa: BLE001 - check `hooks` reports it
        records = []
    found = [Candidate(module, MODULE, None, given)]
    found += [Candidate(module, kind, record, given) for kind, record in records]
    known = {s.id for s in found[1:]}
    strange = sorted({*given.options, *given.samples} - known)
    if strange and records:
        raise ValueError(f"{', '.join(strange)}: not in {module.__name__}, which has {', '.join(sorted(known))}")
    return found


def records_of(module: ModuleType) -> list[tuple[str, PluginRecord]]:
    """Kind and record of all that a module's hooks yield. Raises what they raise."""
    return [(kind, r) for kind in KINDS for r in getattr(module, f"kras_{kind}s", tuple)()]


def loose_file(module: ModuleType) -> Path | None:
    """The file that a module was loaded from, if no other process finds it by its name; else None.

    Raises NotApplicable for a module without a file.
    """
    found, origin = None, getattr(module, "__file__", None)
    with suppress(ImportError, ValueError):  # a module loaded from a file has a name that nobody else finds
        found = importlib.util.find_spec(module.__name__)
    if found is not None and found.origin == origin and module.__name__ != module_name(Path(str(origin))):
        return None
    if origin is None:
        raise NotApplicable("the module has no file, so no other process can import it")
    return Path(origin)


def import_line(module: ModuleType) -> str:
    """Python code that imports a module in another process, as `plugin`."""
    file = loose_file(module)
    if file is None:
        return f"import importlib; plugin = importlib.import_module({module.__name__!r})"
    found = f"from {import_file.__module__} import {import_file.__name__}"
    return f"import pathlib; {found}; plugin = {import_file.__name__}(pathlib.Path({str(file)!r}))"
