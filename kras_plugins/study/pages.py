"""What is written for each scored patient in addition to the numbers: page, case as JSON, pictures, GeoJSON."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.data import Explanation, Prediction, split_extractor
from kras_plugins.errors import PluginError, SlideError
from kras_plugins.evaluation.calls import probability
from kras_plugins.files.atomic import write_atomic
from kras_plugins.host.parts import Parts
from kras_plugins.learning.calibration import shift_prevalence
from kras_plugins.report.case import INDEX, CasePage, CaseSlide, Point, Rate, case_name, without_scores
from kras_plugins.report.case_index import index_rows, render_index
from kras_plugins.report.case_json import ENDING
from kras_plugins.report.case_page import write_case
from kras_plugins.report.links import OnDisk
from kras_plugins.report.provenance import demonstration_reasons, provenance_rows
from kras_plugins.study.case_features import measures, moved
from kras_plugins.study.case_slides import Explained, Looked, look
from kras_plugins.study.examples import placed

if TYPE_CHECKING:
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.gathering import Gathering
    from kras_plugins.study.notify import Notify

_OF_OTHERS = ("patients", "slides")
"""What an entry of the manifest says about all patients of a call; it does not belong on the page of one patient."""


def write_pages(
    out: Path,
    bundle: Bundle,
    parts: Parts,
    predictions: Sequence[Prediction],
    cases: Sequence[Case],
    manifest: Mapping[str, Any],
    prevalence: float,
    notify: Notify,
    *,
    overlay: bool = False,
) -> dict[str, Path]:
    """Write a page for each patient with a usable slide, and heat map and GeoJSON per slide; returns pages by patient.

    With `overlay` also a picture of cells and tissue at full resolution. What a plug-in cannot explain or show is
    reported and left out of the page.
    """
    by_patient = {c.patient.patient_id: c for c in cases}
    shift = float(shift_prevalence(0.0, float(bundle.facts["prevalence"]), prevalence))
    pages = {}
    for prediction in predictions:
        case = by_patient.get(prediction.patient_id)
        if case is None:
            continue
        why = _explained(bundle, prediction, case, notify)
        assessable = prediction.call != "not_assessable"
        of_tiles = _of_tiles(why, case, assessable=assessable)
        looked, top = _looked(out, parts, case, of_tiles, notify, overlay=overlay)
        distribution = bundle.facts.get("distribution")
        profile = case.sample.profile
        page = CasePage(
            target=str(bundle.facts["target"]),
            prediction=prediction,
            thresholds=_thresholds(bundle, shift),
            trained_on=_trained_on(bundle),
            prevalence=prevalence,
            slides=tuple(one.slide for one in looked),
            measures=measures(profile, distribution),
            among=None if distribution is None else int(distribution["n"]),
            moved={m: found for m, w in why.items() if (found := moved(w, profile, distribution))},
            tiles=top,
            demonstration=tuple(demonstration_reasons(manifest)),
            provenance=tuple(provenance_rows({k: v for k, v in manifest.items() if k not in _OF_OTHERS})),
        )
        pictures = {key: uri for one in looked for key, uri in one.pictures.items()}
        pages[prediction.patient_id] = write_case(out, without_scores(page), OnDisk(pictures=pictures))
        notify.step("pages", len(pages), len(cases))
    return pages


def write_index(
    gathering: Gathering,
    rows: Sequence[Mapping[str, Any]],
    slides: Mapping[str, Sequence[str]],
    bundle: Bundle,
    notify: Notify,
) -> tuple[str, ...]:
    """Write the page of all patients of the folder and return its name; do nothing if a foreign page has that name.

    `rows`: predictions.csv; `slides`: those of this call's patients.
    """
    folder = gathering.folder
    if (folder / INDEX).exists() and not gathering.wrote(INDEX):
        notify.warn(f"{folder / INDEX} was not written by kras and is kept: no page of all patients is written")
        return ()
    known = {p: own for call in gathering.calls() for p, own in dict(call.get("patients") or {}).items()}
    listed = index_rows(rows, {**known, **slides})
    names = {case_name(row.patient_id) for row in listed}
    target = target_label(str(bundle.facts["target"]))
    page = render_index(
        listed,
        OnDisk(pages={name for name in names if (folder / f"{name}{ENDING}").is_file()}),
        title=f"{target} from H&E: {len(listed)} patient{'' if len(listed) == 1 else 's'}",
        target=target,
        prevalence=float(gathering.what["prevalence"]),
        provenance=provenance_rows(gathering.what),
    )
    write_atomic(folder / INDEX, page)
    return (INDEX,)


def _explained(bundle: Bundle, prediction: Prediction, case: Case, notify: Notify) -> dict[str, Explanation]:
    """Why each member gave its score, as far as it can explain it."""
    found = {}
    for name in prediction.members:
        with _without(prediction.patient_id, notify):
            found[name] = bundle.explain(name, case.sample)
    return found


def _of_tiles(why: Mapping[str, Explanation], case: Case, *, assessable: bool) -> list[Explained]:
    """The members whose tiles are shown: the first of those with places; with several extractors, all of them."""
    places = placed([case])
    found = [
        explained
        for member, one in why.items()
        if split_extractor(member)[1] in places and (explained := Explained.of(member, one, assessable=assessable))
    ]
    return [one for i, one in enumerate(found) if i == 0 or one.extractor]


def _looked(
    out: Path, parts: Parts, case: Case, of_tiles: Sequence[Explained], notify: Notify, *, overlay: bool
) -> tuple[list[Looked], Any]:
    """The patient's slides as the page shows them, and the tiles to look at, both for the first in `of_tiles`."""
    why, others = (of_tiles[0], of_tiles[1:]) if of_tiles else (None, ())
    own = [] if why is None else [bag for r in case.results if (bag := r.bag_of(why.extractor)) is not None]
    top = None if why is None else why.top({bag.slide_id: bag.size for bag in own})
    looked = []
    for result in case.results:
        shown = Looked(slide=CaseSlide(slide_id=result.ref.slide_id, qc=result.qc))
        with _without(case.patient.patient_id, notify):
            shown = look(out, parts, result, why, top, notify, overlay=overlay, others=others)
        looked.append(shown)
    return looked, top


@contextmanager
def _without(patient_id: str, notify: Notify) -> Iterator[None]:
    """Report a failure and continue: the scores and the pages of other patients are not affected."""
    try:
        yield
    except (PluginError, SlideError) as e:
        notify.warn(f"left out of the page of {patient_id}: {e}", "".join(traceback.format_exception(e)))


def _thresholds(bundle: Bundle, shift: float) -> dict[str, Point]:
    """The ensemble's frozen operating points as probabilities at the shown prevalence."""
    points: Mapping[str, Mapping[str, Any]] = bundle.facts["operating_points"]
    return {
        rule: Point(
            threshold=probability(logit + shift),
            sensitivity=_rate(points.get(rule, {}).get("sensitivity")),
            specificity=_rate(points.get(rule, {}).get("specificity")),
        )
        for rule, logit in bundle.thresholds["ensemble"].items()
        if logit is not None
    }


def _rate(found: Mapping[str, Any] | None) -> Rate | None:
    return None if found is None else Rate(**{key: found.get(key) for key in ("value", "low", "high")})


def _trained_on(bundle: Bundle) -> tuple[int, int] | None:
    """Patients and positives that the ensemble's rates were measured on; None for bundles that do not say."""
    found = bundle.facts.get("internal", {}).get("models", {}).get("ensemble")
    return None if found is None else (int(found["n"]), int(found["n_positive"]))
