"""Pseudonyms: a study in which patients and slides have other names than in their files and tables.

The ids are replaced once a table has been read and joined with others; all later steps know only the pseudonyms.
Everything else that is written or logged (errors, notes, paths) is searched for the replaced names. The key and the
list of names are in one file outside the study.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from kras_plugins.cohort.slide_places import slide_place
from kras_plugins.cohort.table import CohortTable, Patient, read_rows
from kras_plugins.data import SlideRef
from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.files.regular import TABLE, private, read_text
from kras_plugins.study.notify import Notify
from kras_plugins.study.outputs import SetAside
from kras_plugins.urls import Url

V = TypeVar("V")

SCHEMA_VERSION = 1
_KEY_BYTES = 32
_SHORT = 4
"""Shorter names may be ordinary words or numbers: they are replaced only where the text marks them as names."""


def pseudonym(key: bytes, name: str) -> str:
    """The pseudonym of a patient or slide under this key: always the same for the same name."""
    digest = hmac.new(key, name.encode(), hashlib.sha256).digest()
    return f"id-{base64.b32encode(digest[:10]).decode().lower()}"


def read_key(file: Path) -> bytes:
    """The key of a file of pseudonyms, made if it is missing. Raises ConfigError for a file of another kind."""
    with _locked(file):
        return bytes.fromhex(_read_or_make(file)["key"])


def write_key(file: Path, key: bytes) -> None:
    """Make a file of pseudonyms with this key and without any name."""
    _write(file, {"schema_version": SCHEMA_VERSION, "key": key.hex(), "patients": {}, "slides": {}})


class Names:
    """The pseudonyms of one call; without a file, names stay as they are. Thread-safe."""

    def __init__(self, file: Path | None) -> None:
        self.file = None if file is None else Path(os.path.abspath(file))
        self._key = b""
        self._texts: dict[str, str] = {}
        self._folders: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def begin(self, folder: Path, given: Iterable[Path], bundle: Path | None = None) -> None:
        """Make or read the file, and learn the names in what a call is `given`: slides, folders, a cohort CSV.

        Raises ConfigError if the file lies in the output `folder` or in the `bundle`, which are passed on to others, or
        if it was not written by us.
        """
        if self.file is None:
            return
        for told in (folder, bundle):
            if told is not None and Path(os.path.realpath(self.file)).is_relative_to(os.path.realpath(told)):
                raise ConfigError(
                    f"{self.file} lies in {told} and would reveal its names", "keep --pseudonyms outside of the study"
                )
        self._key = read_key(self.file)
        for path in given:
            self._learn_given(path)

    @property
    def mark(self) -> str | None:
        """What identifies the key without revealing it; None without pseudonyms."""
        return None if self.file is None else self._name("\0key")

    def table(
        self, table: CohortTable, patients: Sequence[Patient] = (), by_patient: Mapping[str, V] | None = None
    ) -> tuple[CohortTable, tuple[Patient, ...], dict[str, V] | None]:
        """A cohort, its patients as described, and what is known by patient, under pseudonyms.

        Patients and slides are in order of pseudonyms; each slide keeps its row as `source`. New names are added to the
        file.
        """
        if self.file is None:
            return table, tuple(patients), None if by_patient is None else dict(by_patient)
        slides = [slide for patient in table.patients for slide in patient.slides]
        self._learn([p.patient_id for p in table.patients], [])
        self._learn([s.slide_id for s in slides], [(s.slide_id, s.place) for s in slides if s.place is not None])
        self._record(self.file, [p.patient_id for p in table.patients], [s.slide_id for s in slides])
        renamed = replace(
            table,
            patients=self._patients(table.patients),
            warnings=tuple(map(self.hide, table.warnings)),
        )
        known = None if by_patient is None else {self._name(k): v for k, v in by_patient.items()}
        return renamed, self._patients(patients), known

    def learn(self, slides: Sequence[Path]) -> None:
        """Learn the names of slides found in folders, which an error may quote before a table exists."""
        if self.file is not None:
            self._learn([path.stem for path in slides], [(path.stem, path) for path in slides])

    def hide(self, text: str) -> str:
        """The text with pseudonyms for all names and paths of slides that this call knows."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._texts[found[0]], text)

    def hidden(self, value: Any) -> Any:
        """The same for all text within JSON values; given folders are left out."""
        if self.file is None:
            return value
        if isinstance(value, str):
            return "FOLDER" if value in self._folders else self.hide(value)
        if isinstance(value, Mapping):
            return {k: self.hidden(v) for k, v in value.items()}
        return [self.hidden(v) for v in value] if isinstance(value, list | tuple) else value

    def error(self, error: KrasError) -> KrasError:
        """The error with pseudonyms and without causes that contain names; unchanged if nothing must be hidden."""
        return error if self.file is None else type(error)(self.hide(error.message), self.hide(error.hint))

    def aside(self, one: SetAside) -> SetAside:
        """A slide set aside, under its pseudonym."""
        return replace(one, **{f.name: self.hide(getattr(one, f.name)) for f in fields(one)})

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Errors that leave the block, and messages logged in it (`hide_now`), contain pseudonyms."""
        before = _now.set(self)
        try:
            yield
        except KrasError as e:
            if self.file is None:
                raise
            raise self.error(e) from None
        finally:
            _now.reset(before)

    def _learn_given(self, path: Path) -> None:
        if path.is_dir():
            self._folders |= {str(path), os.path.abspath(path)}
            return
        rows = []
        if path.suffix.lower() == ".csv":
            with suppress(KrasError):  # the later reading reports what is wrong with it, line by line
                rows = read_rows(path, ["patient_id", "slide_id"])
        if rows:
            self._learn([row.get(column) for row in rows for column in ("patient_id", "slide_id")], [])
            with suppress(KrasError):  # an address of an unsupported kind
                files = [(row.get("slide_id"), slide_place(path, row.get("path"))) for row in rows if row.get("path")]
                self._learn([], files)
        else:
            self._learn([path.stem], [(path.stem, path)])

    def _learn(self, ids: Iterable[str], files: Iterable[tuple[str, Path | Url]]) -> None:
        for name in filter(None, ids):
            self._texts[name] = self._texts[repr(name)[1:-1]] = self._name(name)  # errors may quote it
        for name, path in files:
            last = Path(path.name)
            told = self._name(name) + last.suffix
            absolute = str(path) if isinstance(path, Url) else os.path.abspath(path)
            self._texts |= {str(path): told, absolute: told, path.name: told}
            self._texts.setdefault(last.stem, self._name(name))
        longest_first = sorted(self._texts, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(_as_a_name, longest_first))) if longest_first else None

    def _name(self, name: str) -> str:
        return pseudonym(self._key, name)

    def _patients(self, patients: Iterable[Patient]) -> tuple[Patient, ...]:
        return tuple(sorted(map(self._patient, patients), key=lambda p: p.patient_id))

    def _patient(self, patient: Patient) -> Patient:
        own = [patient.patient_id, *(slide.slide_id for slide in patient.slides)]
        return replace(
            patient,
            patient_id=self._name(patient.patient_id),
            slides=tuple(sorted((self._slide(s, own) for s in patient.slides), key=lambda s: s.slide_id)),
            covariates=self._without(own, patient.covariates),
        )

    def _slide(self, slide: SlideRef, own: Sequence[str]) -> SlideRef:
        return replace(
            slide,
            patient_id=self._name(slide.patient_id),
            slide_id=self._name(slide.slide_id),
            extra=self._without(own, slide.extra),
            source=slide,
        )

    def _without(self, own: Sequence[str], cells: Mapping[str, str]) -> dict[str, str]:
        """Free columns, which may repeat a patient's own ids."""
        found = dict(cells)
        for name in sorted((name for name in own if len(name) >= _SHORT), key=len, reverse=True):
            found = {column: text.replace(name, self._name(name)) for column, text in found.items()}
        return found

    def _record(self, file: Path, patients: Iterable[str], slides: Iterable[str]) -> None:
        with _locked(file):
            kept = _read_or_make(file)
            if bytes.fromhex(kept["key"]) != self._key:
                raise ConfigError(f"{file}: its key has changed meanwhile", "run the same command again")
            now = {
                "patients": {**kept["patients"], **{self._name(name): name for name in patients}},
                "slides": {**kept["slides"], **{self._name(name): name for name in slides}},
            }
            if any(now[part] != kept[part] for part in now):
                _write(file, {**kept, **now})


class Telling:
    """A Notify that passes everything to another one, under pseudonyms."""

    def __init__(self, names: Names, notify: Notify) -> None:
        self._names, self._notify = names, notify
        self.begin, self.tiles = notify.begin, notify.tiles

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Pass it on."""
        self._notify.finished(slide_id, None if failure is None else self._names.error(failure))

    def step(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self._notify.step(self._names.hide(what), done, total)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._notify.note(self._names.hide(text))

    def warn(self, text: str, trace: str = "") -> None:
        """Pass it on."""
        self._notify.warn(self._names.hide(text), self._names.hide(trace))


_now: ContextVar[Names | None] = ContextVar("kras_names", default=None)


def hide_now(text: str) -> str:
    """The text under the pseudonyms of the current study, if any: for messages below the logger `kras`."""
    names = _now.get()
    return text if names is None else names.hide(text)


def _as_a_name(text: str) -> str:
    """A pattern for a name within a text: not within a longer word."""
    before = r"(?<![A-Za-z0-9])" if len(text) >= _SHORT else r"(?:(?<=slide )|(?<=patient )|(?<=['\"/]))"
    return f"{before}{re.escape(text)}(?![A-Za-z0-9])"


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_name(f"{file.name}.lock"), mode=0o600)
        with lock:
            yield
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}", "name a file for --pseudonyms that you may write") from e


def _read_or_make(file: Path) -> dict[str, Any]:
    if not os.path.lexists(file):
        made = {"schema_version": SCHEMA_VERSION, "key": secrets.token_hex(_KEY_BYTES), "patients": {}, "slides": {}}
        _write(file, made)
        return made
    try:
        found: dict[str, Any] = dict(json.loads(read_text(file, TABLE))) if file.is_file() else {}
        whole = len(bytes.fromhex(found["key"])) >= _KEY_BYTES and all(
            isinstance(found[part], dict) for part in ("patients", "slides")
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ConfigError(
            f"{file}: contains no key of pseudonyms, or is damaged",
            "name the file that --pseudonyms made, or a file that does not exist yet",
        )
    private(file)
    return found


def _write(file: Path, value: Mapping[str, Any]) -> None:
    write_atomic(file, json.dumps(value, indent=1) + "\n", mode=0o600)
