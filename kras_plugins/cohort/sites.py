"""Which institution a site belongs to, from a table: folds of whole sites then keep whole institutions.

TCGA's tissue source site codes stand for an institution and a study, so that one hospital has several.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kras_plugins.cohort.barcodes import parse_barcode
from kras_plugins.cohort.delimited import header_of, read_table
from kras_plugins.cohort.numbers import short, shown
from kras_plugins.cohort.table import CohortTable
from kras_plugins.errors import ConfigError

MEANINGS = {
    "site": ("code", "tss_code", "tss", "site_code", "site"),
    "institution": ("institution", "source_site", "hospital", "center", "centre"),
}
"""Names of a map's columns, in any case, spaces for underscores: the site as cohorts state it, and its institution."""

DOMINATES = 0.3
"""An institution with a larger share of the patients than this is noted."""

_POOLS = re.compile(
    r"\b(bio)?bank|repositor|biospecimen|consortium|\b(asterand|cureline|ilsbio|indivumed)\b", re.IGNORECASE
)
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class SiteMap:
    """Institutions by site, as the table `path` states them."""

    path: Path
    institutions: Mapping[str, str]


def read_sites(path: Path) -> SiteMap:
    """Read a table with a column of sites and one of institutions, named as in MEANINGS, separated by tabs or commas.

    Institutions that differ only in case or spaces are one; a row without an institution is ignored. Raises ConfigError
    that names file, column and cause, also if a site has two institutions.
    """
    columns, rows = read_table(path, MEANINGS)
    lacking = [meaning for meaning in MEANINGS if meaning not in columns]
    if lacking:
        names = " and ".join(f"one of {', '.join(MEANINGS[meaning])}" for meaning in lacking)
        raise ConfigError(
            f"{path} has no column of {' or '.join(f'{meaning}s' for meaning in lacking)}; it has "
            f"{shown(header_of(path))}",
            f"name the column {names}",
        )
    found: dict[str, tuple[str, int]] = {}
    spelled: dict[str, str] = {}
    for line, cells in rows:
        text = " ".join(columns.get(cells, "institution").split())
        sites = {cells[i].strip() for i in columns.where["site"]} - {""}
        if not sites:
            raise ConfigError(
                f"{path}, line {line}: no site", "fill in the site as the cohort's column states it, or a code"
            )
        if not text:
            continue
        institution = spelled.setdefault(text.casefold(), text)
        for site in sites:
            other, at = found.setdefault(site, (institution, line))
            if other != institution:
                raise ConfigError(
                    f"{path}, line {line}: site {short(site)} is {short(institution)} here and {short(other)} in line "
                    f"{at}",
                    "a site belongs to one institution: correct or remove one of the lines",
                )
    if not found:
        raise ConfigError(f"{path} has a header but names no institution", "give one row per site")
    return SiteMap(path=path, institutions={site: institution for site, (institution, _) in found.items()})


def map_sites(sites: Mapping[str, str], known: SiteMap) -> tuple[dict[str, str], list[str]]:
    """The institution of each patient, and notes; `sites`: the stated site of each patient, "" if unknown.

    Found by the stated site, else by the tissue source site in a TCGA barcode; a patient found by neither keeps the
    stated site and is counted. Notes name tissue banks and suppliers, each of which pools hospitals, and an institution
    with more than DOMINATES of the patients. Raises ConfigError if no patient is found.
    """
    institutions = {patient: _find(patient, site, known) for patient, site in sites.items()}
    if not any(institutions.values()):
        raise ConfigError(
            f"{known.path} has no site of these patients: theirs are {shown(sorted(set(sites.values()) - {''}), 5)}, "
            f"its sites are {shown(sorted(known.institutions), 5)}",
            "add a column with the sites as the cohort states them, or with TCGA's tissue source site codes",
        )
    mapped = {patient: institutions[patient] or site for patient, site in sites.items()}
    there = Counter(name for name in institutions.values() if name)
    notes = [f"sites: {sum(there.values())} of {len(sites)} patients are of {len(there)} institutions of {known.path}"]
    absent = Counter(site for patient, site in sites.items() if site and not institutions[patient])
    if absent:
        notes.append(
            f"sites: {len(absent)} sites of {sum(absent.values())} patients are not in the map and stay as they are: "
            f"{shown(sorted(absent), _SHOWN)}"
        )
    return mapped, notes + _pooled(Counter(name for name in mapped.values() if name))


def with_institutions(table: CohortTable, known: SiteMap) -> tuple[CohortTable, list[str]]:
    """A cohort whose patients' sites are institutions, and notes; raises ConfigError as `map_sites` does."""
    mapped, notes = map_sites({patient.patient_id: patient.site for patient in table.patients}, known)
    patients = tuple(replace(patient, site=mapped[patient.patient_id]) for patient in table.patients)
    return replace(table, patients=patients), notes


def _find(patient: str, site: str, known: SiteMap) -> str:
    """The institution of a patient, "" if the map has none; a stated institution stays as it is."""
    if site in known.institutions.values():
        return site
    if site in known.institutions:
        return known.institutions[site]
    try:
        return known.institutions.get(parse_barcode(patient).site, "")
    except ConfigError:  # begins like a barcode but is not one
        return ""


def _pooled(patients: Counter[str]) -> list[str]:
    n, notes = patients.total(), []
    pools = [(name, count) for name, count in patients.most_common() if _POOLS.search(name)]
    if pools:
        some = sum(count for _, count in pools)
        notes.append(
            f"sites: {some} patients ({100 * some / n:.0f} %) come from tissue banks and suppliers, where one site is "
            f"several hospitals: {shown([f'{name} ({count})' for name, count in pools], _SHOWN)}"
        )
    notes += [
        f"sites: {name} has {100 * count / n:.0f} % of the patients: folds of whole sites will differ in size"
        for name, count in patients.most_common()
        if count > DOMINATES * n
    ]
    return notes
