"""Who is not new: patients that a bundle was trained on, and slides on which its encoder was pre-trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.barcodes import parse_slide_name
from kras_plugins.data import split_extractor
from kras_plugins.evaluation.shift import seen_again
from kras_plugins.manifest import stated_parts
from kras_plugins.study.audit import content_of

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case


IN_TRAINING = "this patient was in training: the score is better than it would be for a new one"


def in_training(training: Mapping[str, Any] | None, cases: Sequence[Case]) -> set[str]:
    """The patients of these cases whose slides, or values made from them elsewhere, were among those of `training`.

    `training`: this fact of a bundle; None for bundles that do not say.
    """
    seen = seen_again((training or {}).get("content", ()), [content_of(c) for c in cases])
    return {c.patient.patient_id for c, known in zip(cases, seen, strict=True) if known}


def seen_notes(facts: Mapping[str, Any], cases: Sequence[Case]) -> list[str]:
    """Notes for a report on a cohort that looks like TCGA's, by barcodes of patients or names of slides.

    `facts`: those of the parts, as in a manifest; bags made elsewhere have no weights. Encoders pre-trained without
    TCGA need no note.
    """
    of_tcga = sum(map(_is_tcga, cases))
    if not of_tcga:
        return []
    count = f"{of_tcga} of {len(cases)} patients are TCGA's"
    extractors = [part for key, part in stated_parts(facts).items() if split_extractor(key)[0] == "extractor"]
    notes = []
    for w in (w for part in extractors for w in _weights(part)):
        if w.get("tcga") is True:
            notes.append(
                f"Leak: TCGA slides, without labels, were in the pre-training of the encoder ({w['source']}), and "
                f"{count}. So these results include slides that it saw before; repeat the run with an encoder "
                "pre-trained without TCGA (see `kras model list`)."
            )
        elif w.get("tcga") is None:
            notes.append(
                f"Possible leak: whether TCGA slides were in the pre-training of the encoder ({w['source']}) is not "
                f"known, and {count}."
            )
    return notes


def _weights(extractor: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return extractor.get("weights") or [{"source": extractor.get("name", "features made elsewhere"), "tcga": None}]


def _is_tcga(case: Case) -> bool:
    refs = [getattr(r.ref, "source", None) or r.ref for r in case.results]  # a pseudonym does not show it
    patients = {getattr(ref, "patient_id", case.patient.patient_id) for ref in refs}
    names = [case.patient.patient_id, *patients, *(ref.slide_id for ref in refs)]
    return any(name.upper().startswith("TCGA-") or parse_slide_name(name) is not None for name in names)
