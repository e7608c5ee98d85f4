"""Identifiers of patients, samples and slides: TCGA barcodes are parsed, any other identifier is the patient."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kras_plugins.errors import ConfigError

PRIMARY = "01"
"""The sample type of a primary solid tumor, the only one that is used."""

NORMAL = "10"
"""Sample types from this one on are normal tissue."""

SAMPLE_TYPES = {
    "01": "primary tumor", "02": "recurrent tumor", "05": "additional new primary", "06": "metastasis",
    "07": "additional metastasis", "10": "normal blood", "11": "normal tissue",
}  # fmt: skip

DIAGNOSTIC = "DX"
"""Slides of formalin-fixed tissue; TS, BS and MS (top, bottom, middle) are frozen sections."""

_BARCODE = re.compile(
    r"TCGA-(?P<site>[A-Z0-9]{2})-(?P<person>[A-Z0-9]{4})"
    r"(?:-(?P<type>\d{2})(?P<rest>[A-Z]?(?:-\d{2}[A-Z]?(?:-[A-Z0-9]{4}(?:-[A-Z0-9]{2})?)?)?))?",
    re.ASCII,
)
_SLIDE = re.compile(
    r"(TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})-(?P<type>\d{2})[A-Z]-\d{2}-(?P<kind>DX|TS|BS|MS)[0-9A-Z]+"
    r"(?:\.[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?(?:\.[A-Za-z0-9]+)*",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Barcode:
    """Whose tissue: `site` and `sample_type` (two digits) are "" if the identifier does not state them.

    `text`: the whole identifier, which tells samples and aliquots of a patient apart.
    """

    patient: str
    text: str
    site: str = ""
    sample_type: str = ""


@dataclass(frozen=True, kw_only=True)
class SlideName:
    """What a TCGA slide's name states: `kind` is DX (diagnostic) or TS, BS, MS (frozen)."""

    patient: str
    site: str
    sample_type: str
    kind: str


def parse_barcode(text: str) -> Barcode:
    """Read an identifier of a patient, sample or aliquot: `TCGA-05-4244-01A-01D-1105-08`, any length from 12 on.

    Text that does not begin with `TCGA-` is taken as the patient. Raises ConfigError if it is empty, or begins like a
    barcode but is not one.
    """
    text = text.strip()
    if not text:
        raise ConfigError("an identifier is empty", "every row must name its sample")
    if not text.upper().startswith("TCGA-"):
        return Barcode(patient=text, text=text)
    text = text.upper()
    found = _BARCODE.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{text!r} is not a TCGA barcode", "barcodes look like TCGA-05-4244 or TCGA-05-4244-01A-01D-1105"
        )
    site = found["site"]
    return Barcode(patient=f"TCGA-{site}-{found['person']}", text=text, site=site, sample_type=found["type"] or "")


def parse_slide_name(name: str) -> SlideName | None:
    """Read a file name like `TCGA-05-4244-01Z-00-DX1.<UUID>.svs`; None if it is not a TCGA slide's."""
    found = _SLIDE.fullmatch(name)
    if found is None:
        return None
    return SlideName(patient=found[1], site=found["site"], sample_type=found["type"], kind=found["kind"])
