"""Typical patients of the study report: their slide, where a network found their score, and the tiles that moved it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kras_plugins.evaluation.rows import PatientScores
    from kras_plugins.evaluation.typical import Basis, Kind

NO_SLIDES = "No slide was read in this study; its features were made elsewhere. There is nothing to show."
NO_PATIENTS = "No patient in scope has a score that could be shown."
LAYERS = {
    "contribution": "what raises the score in orange, what lowers it in blue",
    "attention": "attention, from blue, the lowest of the slide, to yellow",
    "cells": "tissue and cells; no member looks at tiles",
}
"""What lies over a slide's picture, in words."""


@dataclass(frozen=True, kw_only=True)
class ExampleTile:
    """One tile: `picture`, a data URI; `xy`, level-0 px of its corner; `value`, its contribution or attention."""

    picture: str
    xy: tuple[int, int]
    value: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """What is shown of one patient.

    `slide_id`: the slide shown, one of `slides`; `name`: its name in addresses of `kras view`; `picture`, `drawn`:
    data URIs of the slide, bare and with the `layer` of LAYERS over it, "" where there is none; `member`: whose
    explanation it is; `raising`, `lowering`: tiles of the slide, those that matter most first, or the most attended in
    `raising`; `note`: what is missing, and why.
    """

    row: PatientScores
    slide_id: str = ""
    name: str = ""
    slides: int = 0
    picture: str = ""
    drawn: str = ""
    layer: str = ""
    member: str = ""
    raising: tuple[ExampleTile, ...] = ()
    lowering: tuple[ExampleTile, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All of them by kind, in the order of `typical_calls`; `note` takes their place where there are none."""

    basis: Basis = "calls"
    kinds: tuple[tuple[Kind, tuple[Example, ...]], ...] = ()
    note: str = ""


def kind_title(kind: Kind, basis: Basis) -> str:
    """`False rule-outs: positive patients who are ruled out`."""
    who = "positive" if kind.positive else "negative"
    said = "True" if kind.true else "False"
    if basis == "calls":
        rule = "rule-in" if kind.high else "rule-out"
        return f"{said} {rule}s: {who} patients who are {'ruled in' if kind.high else 'ruled out'}"
    side = "high" if kind.high else "low"
    return f"{said} {side} scores: {who} patients in the {side}est quarter"
