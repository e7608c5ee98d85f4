"""A folder that gathers patients, call by call: rows are added and never dropped, each call has its entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock

from kras_plugins.errors import ConfigError
from kras_plugins.manifest import output_digests
from kras_plugins.study.identity import clear, told_differences
from kras_plugins.study.outputs import (
    FAILURES,
    MANIFEST,
    PREDICTIONS,
    SetAside,
    make_folder,
    predictions_table,
    read_failures,
    read_json,
    read_predictions,
    write_failures,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.study.outputs import Row

SCHEMA_VERSION = 2
_LOCK = ".adding"
"""Two calls may add to one folder at once; each waits while the other writes."""


@dataclass(frozen=True)
class Gathering:
    """`what`: what all patients of the folder have in common, as JSON values: the bundle and the prevalence."""

    folder: Path
    what: Mapping[str, Any]

    @classmethod
    def opened(cls, folder: Path, what: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Take the folder; ConfigError where it holds something else, unless that may be replaced."""
        make_folder(folder)
        if overwrite:
            clear(folder)
        found = cls(folder, what)
        before = found._manifest()
        if before is None:
            if (folder / PREDICTIONS).exists():
                raise ConfigError(
                    f"{folder} holds {PREDICTIONS} of another kind of study, or of an earlier kras",
                    "choose another --out, or replace it with --overwrite",
                )
            return found
        differing = told_differences({k: before.get(k) for k in what}, what)
        if differing:
            raise ConfigError(
                f"{folder} holds results of another call: {differing}",
                "choose another --out, or replace them with --overwrite",
            )
        return found

    def refuse_other_slides(self, asked: Mapping[str, Sequence[str]]) -> None:
        """Raise ConfigError for a patient who is there with other slides than this call asks for."""
        for entry in self._calls():
            for patient, slides in entry.get("patients", {}).items():
                now = asked.get(patient, slides)
                if sorted(now) != sorted(slides):
                    raise ConfigError(
                        f"{self.folder} holds patient {patient} with {', '.join(slides)}, now {', '.join(now)}",
                        "score all slides of a patient in one call, into another --out",
                    )

    def refuse_changed_slides(self, slides: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ConfigError for a slide that is there with another content."""
        for entry in self._calls():
            for name, facts in entry.get("slides", {}).items():
                if name in slides and slides[name]["fingerprint"] != facts["fingerprint"]:
                    raise ConfigError(
                        f"{self.folder} holds results of another slide named {name}",
                        "give it another name, or choose another --out",
                    )

    def add(self, rows: Sequence[Row], aside: Sequence[SetAside], entry: Mapping[str, Any]) -> pa.Table:
        """Add patients, slides set aside and the entry of this call; gives the predictions of the whole folder.

        A patient who comes again with the same slides takes the place of the earlier row.
        """
        with FileLock(self.folder / _LOCK):
            file, before = self.folder / PREDICTIONS, self._manifest()
            earlier = read_predictions(file).to_pylist() if before is not None else []
            merged = {row["patient_id"]: row for row in [*earlier, *rows]}
            tried = {slide for slides in entry["patients"].values() for slide in slides}
            kept = [f for f in read_failures(self.folder / FAILURES) if before is not None and f.slide_id not in tried]
            write_table(file, list(merged.values()))
            write_failures(self.folder / FAILURES, [*kept, *aside])
            write_json(
                self.folder / MANIFEST,
                {
                    "schema_version": SCHEMA_VERSION,
                    **self.what,
                    "calls": [*self._calls(), dict(entry)],
                    "outputs": output_digests(self.folder, (PREDICTIONS, FAILURES)),
                },
            )
        return predictions_table(list(merged.values()))

    def _manifest(self) -> dict[str, Any] | None:
        """The folder's manifest, None where there is none or where it is of another kind."""
        file = self.folder / MANIFEST
        found = read_json(file) if file.is_file() else {}
        return found if "calls" in found else None

    def _calls(self) -> list[dict[str, Any]]:
        return list((self._manifest() or {}).get("calls", []))
