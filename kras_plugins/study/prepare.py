"""A prepared cohort: its patients, the classifiers that learn, and the plug-ins that make their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.cohort.check import table_leaks
from kras_plugins.cohort.table import CohortTable, check_folds, read_cohort
from kras_plugins.contracts.classifier import ClassifierPlugin
from kras_plugins.data import Bag, SemanticProfile, SlideRef, of_extractor, split_extractor
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.baselines import fitted_baseline
from kras_plugins.host.parts import Parts, open_parts
from kras_plugins.learning.fits import Member
from kras_plugins.study.audit import described
from kras_plugins.study.given_folds import with_given_folds
from kras_plugins.study.identity import Identity, bytes_of, inputs_of

if TYPE_CHECKING:
    from kras_plugins.cohort.folds_file import FoldCube
    from kras_plugins.cohort.table import Patient
    from kras_plugins.host.manager import Registry
    from kras_plugins.study.session import Session
    from kras_plugins.study.settings import StudySettings

DEFAULT_COHORT, DEFAULT_OUT = Path("cohort.csv"), Path("kras-out")
_LEAKS = {"error": "Leak", "warning": "Possible leak"}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """`folder`: the output folder; `settings`: with the folds of a file, if one is given: `given`, by patient.

    `baselines`: plain classifiers on the same inputs as the members, reported beside the ensemble.

    `patients`: with their covariates; `notes`: on those; `leaks`: what the table itself gives away; `chosen`: names of
    the extractors and of the profiler, if a member consumes what they make, by `extractor` (`extractor@vit` of several)
    and `profiler`.
    """

    folder: Path
    settings: StudySettings
    table: CohortTable
    patients: tuple[Patient, ...]
    notes: tuple[str, ...]
    leaks: tuple[str, ...]
    members: tuple[Member, ...]
    baselines: tuple[Member, ...]
    chosen: Mapping[str, str]
    given: Mapping[str, FoldCube] | None

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Kind and name of what is chosen."""
        return [(split_extractor(key)[0], name) for key, name in self.chosen.items()]

    @property
    def slides(self) -> list[SlideRef]:
        """All slides, patient by patient."""
        return [slide for patient in self.table.patients for slide in patient.slides]


def find_cohort(given: Path | None) -> Path:
    """The given cohort file, or cohort.csv in the current folder. Raises ConfigError that says how to make one."""
    if given is not None:
        return given
    if DEFAULT_COHORT.is_file():
        return DEFAULT_COHORT
    raise ConfigError(
        "no cohort was given, and the current folder has no cohort.csv",
        "make one with columns patient_id, slide_id, path and g12c, or try `kras demo` first",
    )


def prepare(session: Session, cohort: Path, out: Path | str | None) -> Prepared:
    """Read the cohort and choose the members. Raises ConfigError, before any slide is opened, if there can be no study.

    `out`: the output folder of a training, else that of the settings, else kras-out/<cohort>.
    """
    from kras_plugins.evaluation.risk import require_mapie

    settings = session.settings
    folder = Path(out) if out is not None else settings.out or DEFAULT_OUT / cohort.stem
    session.names.begin(folder, [cohort])
    if settings.risk_control:
        require_mapie()
    members = choose_members(session, settings.classifiers, settings.extractors)
    chosen = _chosen(members, settings)
    opens_pixels = not made_elsewhere(session.registry, ((split_extractor(k)[0], name) for k, name in chosen.items()))
    table = read_cohort(cohort, settings.target, needs_paths=opens_pixels, histologies=settings.histologies)
    given = None
    if settings.folds_file is not None:
        settings, given = with_given_folds(settings, settings.folds_file, table.patients)
    check_folds(table, settings.folds)
    leaks = [f"{_LEAKS[f.severity]}: {f.told}" for f in table_leaks(cohort, settings.target)]
    described_patients, notes = described(table.patients, settings, session.notify)
    table, patients, given = session.names.table(table, described_patients, given)
    return Prepared(
        folder=folder,
        settings=settings,
        table=table,
        patients=patients,
        notes=tuple(map(session.names.hide, notes)),
        leaks=tuple(map(session.names.hide, leaks)),
        members=tuple(members),
        baselines=tuple(choose_baselines(session, members, settings.extractors)),
        chosen=chosen,
        given=given,
    )


def _chosen(members: Sequence[Member], settings: StudySettings) -> dict[str, str]:
    consumed = {m.plugin.consumes for m in members}
    several = len(settings.extractors) > 1
    extractors = {of_extractor("extractor", name if several else ""): name for name in settings.extractors}
    return {
        **(extractors if Bag in consumed else {}),
        **({"profiler": settings.profiler} if SemanticProfile in consumed else {}),
    }


def made_elsewhere(registry: Registry, parts: Iterable[tuple[str, str]]) -> bool:
    """Whether all these parts, by kind and name, read results made elsewhere, so that no slide is opened."""
    return all(getattr(registry.find(kind, name).record, "load", None) is not None for kind, name in parts)


def choose_members(session: Session, names: Sequence[str], extractors: Sequence[str] = ("",)) -> list[Member]:
    """The classifiers by name, with their options. Raises ConfigError for an unknown name or option.

    With several extractors, each classifier of bags becomes one member per extractor, such as `he@vit`.
    """
    members = []
    for name in names:
        provided = session.registry.find("classifier", name)
        record = session.registry.record("classifier", name, ClassifierPlugin)
        options = session.config.options_for("classifier", record)
        identity = f"{provided.id} {provided.version}"
        members += [
            Member(
                name=of_extractor(name, extractor),
                plugin=record,
                options=options,
                identity=identity,
                origin=provided.origin,
                extractor=extractor,
            )
            for extractor in (extractors if record.consumes is Bag and len(extractors) > 1 else ("",))
        ]
    return members


def choose_baselines(session: Session, members: Sequence[Member], extractors: Sequence[str] = ("",)) -> list[Member]:
    """The classifiers that declare themselves baselines and use what some member consumes, except the members."""
    consumed, there = {m.plugin.consumes for m in members}, {m.plugin.name for m in members}
    records = [session.registry.record("classifier", n, ClassifierPlugin) for n in session.registry.names("classifier")]
    names = [r.name for r in records if r.baseline and r.consumes in consumed and r.name not in there]
    return [
        replace(m, name=of_extractor(fitted_baseline(m.plugin.name), m.extractor))
        for m in choose_members(session, names, extractors)
    ]


@contextmanager
def parts_of(session: Session, prepared: Prepared) -> Iterator[Parts]:
    """The plug-ins that make what the members consume, opened."""
    settings = prepared.settings
    with open_parts(
        session.registry,
        session.config,
        extractors=[name for kind, name in prepared.parts if kind == "extractor"],
        profiler=prepared.chosen.get("profiler"),
        backend=settings.backend,
        reader=settings.reader,
    ) as parts:
        yield parts


def identity_of(session: Session, prepared: Prepared) -> Identity:
    """What makes another call the same training: settings, plug-ins, and the content of the cohort's files."""
    settings = prepared.settings
    fitted = (*prepared.members, *prepared.baselines)
    named = list(dict.fromkeys([*prepared.parts, *(("classifier", m.plugin.name) for m in fitted)]))
    options = options_of(session, named)
    return Identity(
        call="train",
        settings={**own_settings(settings), "options": options, "pseudonyms": session.names.mark},
        plugins=[session.registry.find(kind, name).id for kind, name in named],
        files=inputs_of(
            {"cohort": prepared.table.path, "folds_file": settings.folds_file, **named_files(settings)},
            told_options(session, prepared.parts),
            [slide.row.slide_id for slide in prepared.slides],
            session.names.hide,
        ),
        slides={slide.slide_id: bytes_of(slide.path) for slide in prepared.slides},
    )


def own_settings(settings: StudySettings) -> dict[str, object]:
    """The settings that change results, as JSON values; files count by their content, not by their location."""
    elsewhere = {"covariates", "folds_file", "options"}
    return {k: v for k, v in settings.result_affecting().items() if k not in elsewhere}


def named_files(settings: StudySettings) -> dict[str, Path | None]:
    """Files that affect the result of any call: covariates, and loose plug-ins, whose code may change."""
    return {"covariates": settings.covariates, **{f"plug-in {file.name}": file for file in settings.plugins}}


def told_options(session: Session, named: Iterable[tuple[str, str]]) -> dict[str, dict[str, dict[str, object]]]:
    """All options of plug-ins by kind and name, including those that only say where files lie."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for kind, name in named:
        options = session.config.options_for(kind, session.registry.find(kind, name).record)
        found.setdefault(kind, {})[name] = options.model_dump(mode="json")
    return found


def options_of(session: Session, named: Iterable[tuple[str, str]]) -> dict[str, dict[str, dict[str, object]]]:
    """The options that change results, by kind and name: of plug-ins, the backend and readers that were given any.

    They are as the plug-ins understand them, including defaults.
    """
    config = session.settings.config  # not the session's: what applies to all files is a setting, or a fact of slides
    told = [("reader", name) for name in config.options.get("reader", {})]
    found: dict[str, dict[str, dict[str, object]]] = {}
    for kind, name in [*named, ("backend", session.settings.backend), *told]:
        record = session.registry.find(kind, name).record
        found.setdefault(kind, {})[name] = config.options_for(kind, record).result_affecting()
    return found
