"""Patients' labels from KRAS calls: classes of drivers, wild type or unknown. Read `label_patients` first.

A question about a patient has three answers: 1, 0, or None if it is not known; unknown is never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from kras_plugins.cohort.calls import Call
from kras_plugins.cohort.mutations import Mutations
from kras_plugins.cohort.targets import BEYOND_G12C, CLASSES
from kras_plugins.cohort.variants import driver_class, is_driver, protein_of_dna, residues, substitution

Answer = int | None

PUBLISHED = {
    "AACR 2023 abstract 5399 (930 patients)": {"kras_driver": 150, "g12c": 62},
    "greenelab/pancancer (966 patients)": {"g12c": 62, "g12c_ambiguous": 3, "kras_any_nonsilent": 162},
    "cBioPortal PanCan LUAD (566 samples)": {"g12c": 67, "g12c_ambiguous": 3},
}
"""Totals that others published for TCGA lung, to be shown beside ours: rules differ."""

LABEL_COLUMNS = (
    "patient_id", "site", "histology", "g12c", "kras_driver", "kras_any_nonsilent", "kras_protein_changing",
    *BEYOND_G12C, "kras_category", "kras_hgvsp", "kras_vaf", "kras_samples", "kras_flags",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do if calls leave a choice.

    `ambiguous`: G12C, G12D or G12V beside another call at codon 12 (two halves of one p.G12F?) counts as unknown, as
    two mutations (`positive`), or as one that is none of the three (`negative`: another driver). `vus`: a patient with
    variants of unknown significance alone is `negative` for `kras_driver` and `other_kras`, or unknown (`exclude`).
    `min_vaf`: a call with a smaller share of reads proves nothing either way.
    """

    ambiguous: Literal["exclude", "positive", "negative"] = "exclude"
    vus: Literal["negative", "exclude"] = "negative"
    min_vaf: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Label:
    """What is known of one patient. `unknown`: why `g12c` is None, else ""."""

    patient_id: str
    site: str = ""
    histology: str = ""
    g12c: Answer = None
    g12d: Answer = None
    g12v: Answer = None
    g13: Answer = None
    q61: Answer = None
    other_kras: Answer = None
    driver: Answer = None
    nonsilent: Answer = None
    changing: Answer = None
    category: str = "unknown"
    changes: tuple[str, ...] = ()
    vafs: tuple[float | None, ...] = ()
    n_samples: int = 0
    flags: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def classes(self) -> dict[str, Answer]:
        """The answers by label column, for each class of drivers."""
        return {name: getattr(self, name) for name in CLASSES}

    @property
    def is_known(self) -> bool:
        """Whether the patient can be used for any target: a class of drivers, or `kras_driver`."""
        return any(answer is not None for answer in (*self.classes.values(), self.driver))

    def row(self) -> dict[str, Any]:
        """One row of labels.csv, by LABEL_COLUMNS; what is not known is empty."""
        return {
            "patient_id": self.patient_id,
            "site": self.site,
            "histology": self.histology,
            "g12c": self.g12c,
            "kras_driver": self.driver,
            "kras_any_nonsilent": self.nonsilent,
            "kras_protein_changing": self.changing,
            **{name: getattr(self, name) for name in BEYOND_G12C},
            "kras_category": self.category,
            "kras_hgvsp": "+".join(self.changes),
            "kras_vaf": "+".join("?" if v is None else f"{v:.3g}" for v in self.vafs) if any(self.vafs) else "",
            "kras_samples": self.n_samples,
            "kras_flags": "; ".join(self.flags),
        }


def label_patients(mutations: Mutations, policy: Policy | None = None) -> list[Label]:
    """One label for each patient that a source names, in order of their ids.

    The rules, after which a patient's samples or aliquots must agree: `g12c`, `g12d`, `g12v`, `g13`, `q61` and
    `other_kras` are a driver of that class of `variants.driver_class`, of which a patient may have several;
    `kras_driver` a driver of `variants.is_driver`; `kras_any_nonsilent` any call but a silent one by MAF class, so
    one in an untranslated region counts; `kras_protein_changing` excludes those. A patient who was sequenced and has no
    call is 0.
    """
    policy = policy or Policy()
    known = set(mutations.samples) | mutations.unsequenced | mutations.only_other_samples
    return [_patient(patient, mutations, policy) for patient in sorted(known)]


def totals(labels: Sequence[Label]) -> dict[str, Any]:
    """Counts to check against others': all patients, and by histology if it is known."""

    def count(some: Sequence[Label]) -> dict[str, int]:
        return {
            "patients": len(some),
            "g12c": sum(one.g12c == 1 and not _ambiguous(one) for one in some),
            "g12c_ambiguous": sum(map(_ambiguous, some)),
            **{name: sum(one.classes[name] == 1 for one in some) for name in BEYOND_G12C},
            "kras_driver": sum(one.driver == 1 for one in some),
            "kras_any_nonsilent": sum(one.nonsilent == 1 for one in some),
            "kras_protein_changing": sum(one.changing == 1 for one in some),
            "wild_type": sum(one.category == "wild type" for one in some),
            "unknown": sum(one.g12c is None for one in some),
        }

    names = sorted({one.histology for one in labels} - {""})
    return {**count(labels), "by_histology": {n: count([one for one in labels if one.histology == n]) for n in names}}


def label_flow(mutations: Mutations, labels: Sequence[Label]) -> list[dict[str, Any]]:
    """Who was dropped and why, from all patients the sources name to those with a label (STARD): steps in order."""
    elsewhere = {name: len(patients) for name, patients in sorted(mutations.other_diseases.items())}
    others = len(set().union(*mutations.other_diseases.values())) if elsewhere else 0
    steps = [{"step": "patients in the sources", "patients": len(labels) + others}]
    if elsewhere:
        steps.append({"step": "dropped: another disease, or none stated", "patients": others, "of": elsewhere})
    reasons = Counter(one.unknown for one in labels if one.unknown)
    steps += [{"step": f"label unknown: {reason}", "patients": n} for reason, n in sorted(reasons.items())]
    positive = sum(one.g12c == 1 for one in labels)
    negative = sum(one.g12c == 0 for one in labels)
    return [
        *steps,
        {"step": "labelled", "patients": positive + negative},
        {"step": "G12C", "patients": positive},
        {"step": "not G12C", "patients": negative},
    ]


def _patient(patient: str, mutations: Mutations, policy: Policy) -> Label:
    histologies = mutations.histologies.get(patient, set())
    base = Label(
        patient_id=patient,
        site=mutations.sites.get(patient, ""),
        histology=next(iter(histologies)) if len(histologies) == 1 else "",
        flags=(f"histology differs: {' and '.join(sorted(histologies))}",) if len(histologies) > 1 else (),
    )
    samples = mutations.samples.get(patient, set())
    if not samples:
        listed = patient in mutations.unsequenced
        why = "not sequenced" if listed else "no primary tumor sequenced"
        return replace(base, unknown=why, flags=(*base.flags, why))
    # A sample and its aliquots count as one; only the longest identifiers count separately.
    apart = [s for s in sorted(samples) if not any(o != s and _within(o, s) for o in samples)]
    calls = mutations.calls.get(patient, [])
    per_sample = [_answers([c for c in calls if _within(one, c.sample)], policy) for one in apart]
    flags = [*base.flags, *dict.fromkeys(flag for _, some in per_sample for flag in some)]
    answers = {question: {answers[question] for answers, _ in per_sample} for question in per_sample[0][0]}
    if any(len(values) > 1 for values in answers.values()):
        flags.append(f"{len(apart)} samples or aliquots disagree")
    agreed: dict[str, Any] = {
        question: values.pop() if len(values) == 1 else None for question, values in answers.items()
    }
    best: dict[str, float | None] = {}
    for call in calls:
        if (
            call.effect == "protein"
            and call.change not in ("", "=")
            and (call.vaf or 0) >= (best.get(call.change) or 0)
        ):
            best[call.change] = call.vaf
    label = replace(
        base,
        **agreed,
        changes=tuple(f"p.{change}" for change in sorted(best, key=lambda c: (residues(c).start, c))),
        vafs=tuple(best[change] for change in sorted(best, key=lambda c: (residues(c).start, c))),
        n_samples=len(apart),
        flags=tuple(flags),
    )
    label = replace(label, category=_category(label, calls))
    return replace(label, unknown=_why(label)) if label.g12c is None else label


def _within(part: str, whole: str) -> bool:
    """Whether an aliquot or sample is (part of) another: TCGA barcodes grow from left to right."""
    return part == whole or (whole.startswith("TCGA-") and part.startswith(whole))


def _answers(calls: Sequence[Call], policy: Policy) -> tuple[dict[str, Answer], list[str]]:
    """The answers for one sample, and what is odd about it."""
    weak = [c for c in calls if c.vaf is not None and c.vaf < policy.min_vaf]

    def ask(is_it: Callable[[Call], bool]) -> Answer:
        """1 if a call shows it; None if one might: its change is not known or its share of reads is too small."""
        sure = [c for c in calls if c.decided and c not in weak]
        if any(is_it(c) for c in sure):
            return 1
        return None if any(not c.decided or is_it(c) for c in calls if c not in sure) else 0

    def is_of(name: str, call: Call) -> bool:
        return call in protein and driver_class(call.change) == name

    protein = [c for c in calls if c.effect == "protein"]
    answers = {
        **{name: ask(partial(is_of, name)) for name in CLASSES},
        "driver": ask(lambda c: c in protein and is_driver(c.change)),
        "nonsilent": 1
        if any(c.effect != "silent" and c not in weak for c in calls)
        else ask(lambda c: c.effect != "silent"),
        "changing": ask(lambda c: c in protein),
    }
    flags = [note for c in calls for note in c.notes]
    flags += [f"VAF {c.vaf:.3g} below {policy.min_vaf:g}: p.{c.change or '?'}" for c in weak if c in protein]
    if policy.min_vaf and any(c.vaf is None for c in protein):
        flags.append("no VAF")
    if answers["changing"] == 1 and answers["driver"] == 0:
        flags.append("VUS only")
        if policy.vus == "exclude":
            answers["driver"] = answers["other_kras"] = None
    if answers["changing"] == 0 and answers["nonsilent"] == 1:
        flags.append("untranslated or intronic call only")
    twelve = {c.change: c for c in protein if c.decided and c not in weak and 12 in residues(c.change)}
    called = [name for name in ("g12c", "g12d", "g12v") if answers[name] == 1]
    if len(twelve) > 1 and called:
        flags.append(_second_call(twelve))
        if policy.ambiguous != "positive":
            together = None if policy.ambiguous == "exclude" else 1  # read as one change, the two are another driver
            answers |= dict.fromkeys(called, None if together is None else 0)
            answers["other_kras"] = answers["other_kras"] or together
    return answers, flags


def _second_call(twelve: Mapping[str, Call]) -> str:
    """Two single-base calls in one codon may be one change of two bases: c.34G>T with c.35G>T is p.G12F."""
    text = f"{AMBIGUOUS}: {'+'.join(f'p.{change}' for change in sorted(twelve))}"
    dna = [c.dna for c in twelve.values()]
    at = [found[0] for found in map(substitution, dna) if found]
    if len(set(at)) == len(dna):
        text += f", read together p.{protein_of_dna(*dna)}"
    if all(c.vaf is not None for c in twelve.values()):
        text += f", VAF {' and '.join(f'{twelve[change].vaf:.3g}' for change in sorted(twelve))}"
    return text


AMBIGUOUS = "second codon-12 call"
"""The beginning of the flag for calls at codon 12 that may be one change."""


def _ambiguous(label: Label) -> bool:
    """Whether a G12C may be half of another change."""
    return any(flag.startswith(AMBIGUOUS) and "p.G12C" in flag for flag in label.flags)


def _category(label: Label, calls: Sequence[Call]) -> str:
    if _ambiguous(label):
        return "G12C ambiguous"
    if label.g12c == 1:
        return "G12C"
    if label.driver == 1 and label.g12c == 0:
        return "other driver"
    if label.g12c is None or label.changing is None:
        return "unknown"
    if label.changing == 1:
        return "VUS"
    return "noncoding" if label.nonsilent == 1 else "wild type"


def _why(label: Label) -> str:
    """The reason why G12C is unknown for a sequenced patient."""
    if _ambiguous(label):
        return "G12C with a second codon-12 call"
    if any("disagree" in flag and "samples" in flag for flag in label.flags):
        return "samples disagree"
    if any(flag.startswith("VAF") for flag in label.flags):
        return "VAF below the floor"
    return "protein change not certain"
