"""From mutation tables and slides to labels and a cohort, with who was dropped and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kras_plugins.cohort.calls import Genome
from kras_plugins.cohort.labels import PUBLISHED, Label, Policy, label_flow, label_patients, totals
from kras_plugins.cohort.mutations import read_mutations
from kras_plugins.cohort.pairing import find_slides, pair, without_slides
from kras_plugins.cohort.sites import map_sites, read_sites
from kras_plugins.errors import ConfigError

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labels, one per patient; `facts`: sources, policy, flow, totals and what was left out, as JSON values."""

    labels: Sequence[Label]
    facts: Mapping[str, Any]


def label_tables(
    sources: Sequence[str],
    policy: Policy,
    *,
    sequenced: Sequence[str] = (),
    diseases: Sequence[str] = (),
    genome: Genome = "auto",
    symbol: str = "",
    sites: Path | None = None,
) -> Labelled:
    """Labels of everybody in mutation tables and lists of sequenced cases, as `read_mutations` takes them.

    `sites`: a table of institutions by site, as `read_sites` takes it; the site of a label is then its institution.
    Raises ConfigError if a file is not usable, or no patient has one of the diseases.
    """
    mutations = read_mutations(sources, sequenced, diseases, genome, symbol)
    found = label_patients(mutations, policy)
    if not found:
        others = ", ".join(sorted(mutations.other_diseases))
        raise ConfigError(
            f"no patient of {','.join(diseases)} in {', '.join(sources)}" + (f"; there are {others}" if others else ""),
            "name the disease with --disease",
        )
    notes: list[str] = []
    if sites is not None:
        institutions, notes = map_sites({one.patient_id: one.site for one in found}, read_sites(sites))
        found = [replace(one, site=institutions[one.patient_id]) for one in found]
    facts: dict[str, Any] = {
        "sources": list(sources),
        "policy": {**asdict(policy), "genome": genome, **({"gene": symbol} if symbol else {})},
        **({"sites": str(sites)} if sites is not None else {}),
        "flow": label_flow(mutations, found),
        "totals": totals(found),
        "published": PUBLISHED,
        "samples_left_out": {kind: len(names) for kind, names in sorted(mutations.other_samples.items())},
        "rows_left_out": dict(mutations.rows_left_out),
        "flagged": {one.patient_id: list(one.flags) for one in found if one.flags},
        "notes": notes,
        "warnings": mutations.warnings,
    }
    return Labelled(labels=found, facts=facts)


def cohort_rows(
    labels: Sequence[Label], slides: Path | None, folder: Path, *, kinds: Sequence[str], suffixes: Sequence[str]
) -> tuple[Rows, Mapping[str, Any]]:
    """Rows of a cohort table stored in `folder`, and the flow of slides into it; without `slides`, a row per patient.

    `kinds`: the TCGA slides to keep; `suffixes`: endings of slides in a folder. Raises ConfigError if no slide can be
    used.
    """
    if slides is None:
        return without_slides(labels), {}
    pairing = pair(find_slides(slides, suffixes), labels, folder, kinds)
    return pairing.rows, {"slide_flow": list(pairing.flow)}
