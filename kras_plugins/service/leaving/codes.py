"""The coded concepts of results, in our own scheme: no public code says that something was predicted from an image.

LOINC's and SNOMED's codes for KRAS variants mean that a gene was sequenced. A search of an archive for these must not
find our results. Public codes are used for what they do express: units, an algorithm, the lung, a slide.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEME = "99KRAS"
"""Coding Scheme Designator of DICOM (private ones begin with 99)."""
SCHEME_NAME = "kras: predictions from H&E"
SCHEME_UID = "2.25.132207142405125829857630586279035904990"


@dataclass(frozen=True)
class Concept:
    """A code of ours and what it means. Codes are never given a second meaning."""

    value: str
    meaning: str


PREDICTION = Concept("001", "Prediction from H&E whole-slide images")
PROBABILITY = Concept("002", "Calibrated probability")
CALL = Concept("003", "Call")
TARGET = Concept("004", "Target of the prediction")
RULE_IN_AT = Concept("005", "Rule-in threshold: at or above")
RULE_OUT_AT = Concept("006", "Rule-out threshold: below")
PREVALENCE = Concept("007", "Presupposed share of positives")
QUALITY = Concept("008", "Quality control of the slides")
TARGETS = {
    "g12c": Concept("101", "KRAS G12C"),
    "g12d": Concept("102", "KRAS G12D"),
    "g12v": Concept("103", "KRAS G12V"),
    "g13": Concept("104", "KRAS G13 mutation"),
    "q61": Concept("105", "KRAS Q61 mutation"),
    "other_kras": Concept("106", "KRAS other driver mutation"),
    "kras_driver": Concept("107", "KRAS driver mutation"),
    "kras_any_nonsilent": Concept("108", "KRAS non-silent mutation"),
    "kras_protein_changing": Concept("109", "KRAS protein-changing mutation"),
}
"""The targets that have codes; any other column of a cohort is `OTHER_TARGET`, and named in the text."""
OTHER_TARGET = Concept("199", "Another target")
CALLS = {
    "rule_in": Concept("201", "Rule-in"),
    "indeterminate": Concept("202", "Indeterminate"),
    "rule_out": Concept("203", "Rule-out"),
    "not_assessable": Concept("204", "Not assessable"),
}
QUALITIES = {
    "pass": Concept("301", "Quality control: passed"),
    "warn": Concept("302", "Quality control: passed with remarks"),
    "fail": Concept("303", "Quality control: failed"),
}
ATTENTION = Concept("401", "Attention of a network: share of a tile among all of the patient")
CONTRIBUTION = Concept("402", "Contribution of a tile to the log odds of a member")
