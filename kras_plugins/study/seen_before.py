"""Whether the encoder saw the cohort's slides while it was pre-trained: unlabelled, yet no longer unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.barcodes import parse_slide_name

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case


def seen_notes(extractor: Mapping[str, Any] | None, cases: Sequence[Case]) -> list[str]:
    """Notes for a report on a cohort that looks like TCGA's, by barcodes of patients or names of slides.

    `extractor`: its facts as in a manifest, None where a run has none; bags made elsewhere have no weights. Encoders
    pre-trained without TCGA need no note.
    """
    of_tcga = sum(map(_is_tcga, cases))
    if extractor is None or not of_tcga:
        return []
    count = f"{of_tcga} of {len(cases)} patients are TCGA's"
    weights = extractor.get("weights") or [{"source": extractor.get("name", "features made elsewhere"), "tcga": None}]
    notes = []
    for w in weights:
        if w.get("tcga") is True:
            notes.append(
                f"Leak: TCGA slides, without labels, were in the pre-training of the encoder ({w['source']}), and "
                f"{count}. These results are not on slides that it never saw; repeat the run with an encoder "
                "pre-trained without TCGA (see `kras model list`)."
            )
        elif w.get("tcga") is None:
            notes.append(
                f"Possible leak: whether TCGA slides were in the pre-training of the encoder ({w['source']}) is not "
                f"known, and {count}."
            )
    return notes


def _is_tcga(case: Case) -> bool:
    names = [case.patient.patient_id, *(r.ref.slide_id for r in case.results)]
    return any(name.upper().startswith("TCGA-") or parse_slide_name(name) is not None for name in names)
