"""What `kras view` shows, for the given slides or the folder of a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kras_plugins.bags import read_bag
from kras_plugins.data import of_extractor, split_extractor
from kras_plugins.errors import UsageError
from kras_plugins.host.parts import usable_readers
from kras_plugins.processing.embedding import BAG
from kras_plugins.report.case import case_name
from kras_plugins.report.case_json import ENDING, read_case
from kras_plugins.report.case_page import CALLS
from kras_plugins.semantics.map import FACTS
from kras_plugins.slides.slide import open_slide
from kras_plugins.store import Store, safe_name
from kras_plugins.study.inputs import slides_of
from kras_plugins.study.outputs import MANIFEST, METRICS, read_json
from kras_plugins.study.trained_on import remembered
from kras_plugins.urls import Url
from kras_plugins.viewer.alike import Cohort, Searched
from kras_plugins.viewer.assemble import Sources, assembled, with_tissue
from kras_plugins.viewer.explain import Explainer, bag_of_study, explained_member, of_result
from kras_plugins.viewer.moved import Finder
from kras_plugins.viewer.results import read_result
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.study.session import Session
    from kras_plugins.viewer.results import Recorded, Result


def find_shown(session: Session, given: Sequence[Path], slides: Path | None = None) -> Shown:
    """The slides of `given` with what is known about them; `slides`: where to look for those that were moved.

    Raises UsageError or ConfigError if nothing can be shown.
    """
    results = [path for path in given if (path / MANIFEST).is_file()]
    if results and len(given) > 1:
        raise UsageError(
            f"{results[0]}: a result cannot be combined with other paths", "name one folder of a result, or slides only"
        )
    if results or (len(given) == 1 and given[0].is_dir() and _empty(session, given[0])):
        candidates = () if slides is None else slides_of([slides], session.registry).patients
        return shown_result(session, given[0], [ref for patient in candidates for ref in patient.slides])
    return _of_slides(session, given)


def _empty(session: Session, folder: Path) -> bool:
    """Whether a folder has no slide: then it is that of an unfinished result, or of no result at all."""
    try:
        return not slides_of([folder], session.registry).patients
    except UsageError:
        return True


def _of_slides(session: Session, given: Sequence[Path]) -> Shown:
    readers = usable_readers(session.registry, session.config, session.settings.reader)

    def listed(ref: SlideRef) -> Listed:
        def opened() -> ShownSlide:
            slide = open_slide(ref, readers, session.settings.reader)
            try:
                return with_tissue(slide, session.store)
            except BaseException:
                slide.close()
                raise

        return Listed(name=safe_name(ref.slide_id), slide_id=ref.slide_id, patient_id=ref.patient_id, open=opened)

    found = [listed(ref) for patient in slides_of(given, session.registry).patients for ref in patient.slides]
    title = found[0].slide_id if len(found) == 1 else f"{len(found)} slides"
    return Shown(title=title, slides={one.name: one for one in found})


def shown_result(
    session: Session,
    folder: Path,
    candidates: Sequence[SlideRef] = (),
    *,
    places: Mapping[str, Path | Url] = MappingProxyType({}),
    base: str = "",
) -> Shown:
    """The slides of a result; `candidates`: files among which moved slides are searched.

    `places`: where slides lie, by id, for a result that does not say it. `base`: the beginning of addresses. Raises
    what `find_shown` does.
    """
    result = read_result(folder)
    if session.settings.cache is None and result.cache is not None:
        session = replace(session, store=Store(result.cache))
    finder = Finder(
        session.store,
        candidates,
        usable_readers(session.registry, session.config, session.settings.reader),
        session.settings.reader,
    )
    sources = _sources(session, result)
    cases = {file.name.removesuffix(ENDING): file for file in sorted(folder.glob(f"*{ENDING}"))}

    def listed(slide: Recorded) -> Listed:
        where = places.get(slide.slide_id)
        slide = replace(slide, url=where) if isinstance(where, Url) else replace(slide, path=where or slide.path)

        def opened() -> ShownSlide:
            one = finder.open(slide)
            try:
                return assembled(one, sources(slide))
            except BaseException:
                one.close()
                raise

        patient = case_name(slide.patient_id)
        return Listed(
            name=safe_name(slide.slide_id),
            slide_id=slide.slide_id,
            patient_id=slide.patient_id,
            open=opened,
            patient=patient if patient in cases else None,
        )

    found = [listed(slide) for slide in result.slides.values()]
    report = folder / "report.html"
    return Shown(
        title=folder.resolve().name,
        slides={one.name: one for one in found},
        cases=cases,
        report=report if report.is_file() else None,
        folder=folder,
        target=_target(folder, cases.values()),
        out_of_fold=result.trained_here,
        base=base,
    )


def _target(folder: Path, cases: Iterable[Path]) -> str:
    """What was scored, according to the metrics of a study, or to a case."""
    metrics = folder / METRICS
    if metrics.is_file():
        return str(read_json(metrics).get("target", ""))
    case = next(iter(cases), None)
    return "" if case is None else read_case(case).target


def _sources(session: Session, result: Result) -> Callable[[Recorded], Sources]:
    """A function that finds what belongs to a slide; the training cohort is read on a request for similar tiles."""
    explainer, store = Explainer(session=session, result=result), session.store
    cohort = cache(partial(_cohort, store, result))

    def sources(slide: Recorded) -> Sources:
        member = explained_member(result, slide) if result.kind == "result" else ""
        bag = of_extractor("bag", split_extractor(member)[1]) if member else bag_of_study(slide)
        own = slide.artifacts.get(bag, "")
        why = None
        if result.kind == "result":
            why = partial(of_result, result, slide, member)
        elif result.kind == "study" and own:
            why = partial(explainer.of, slide)
        return Sources(
            name=safe_name(slide.slide_id),
            tissue=store.at(slide.artifacts.get("tissue", "")),
            bag=store.at(own),
            map=_map(store, result, slide),
            asked=frozenset(slide.artifacts),
            why=why,
            digest=own,
            cohort=partial(cohort, bag),
            facts=_facts(result, slide),
        )

    return sources


def _cohort(store: Store, result: Result, bag: str) -> Cohort:
    """The stored bags of the slides that the bundle was trained on, by digest, and how many more there were.

    `bag`: the kind of artifact; `bag@vit` with several extractors.
    """
    if result.trained_here:
        slides = {s.slide_id: (s.patient_id, s.artifacts.get(bag, "")) for s in result.slides.values()}
    else:
        known = remembered(store, result.bundle).items()
        slides = {name: (one["patient_id"], one.get(bag, "")) for name, one in known}
    found: dict[str, Searched] = {}
    for slide_id, (patient_id, digest) in slides.items():
        folder = store.at(digest)
        if folder is not None:
            found[digest] = Searched(
                bag=read_bag(folder / BAG, slide_id),
                slide_id=slide_id,
                patient_id=patient_id,
                name=safe_name(slide_id) if result.trained_here else None,  # only slides shown here have pixels
                training=True,
            )
    return Cohort(bags=found, absent=len(slides) - len(found))


def _map(store: Store, result: Result, slide: Recorded) -> Path | None:
    """The semantic map; that of a profile lies in the result's own folder."""
    own = result.folder / safe_name(slide.slide_id)
    if result.kind == "profile" and (own / FACTS).is_file():
        return own
    return store.at(slide.artifacts.get("map", ""))


def _facts(result: Result, slide: Recorded) -> dict[str, Any]:
    """What the page says about the slide's patient: the call and its cautions, if there is a call."""
    row = result.rows.get(slide.patient_id, {})
    cautions = [text for text in row.get("cautions", "").split("; ") if text]
    title, _ = CALLS.get(row.get("call", ""), (None, ""))
    return {"call": title, "cautions": cautions}
