"""The page docs/features.md: `python -m kras_plugins.semantics.features.page > docs/features.md`."""

from __future__ import annotations

from kras_plugins.semantics.features.plain import plain
from kras_plugins.semantics.features.table import CORE, FEATURES, GROUPS
from kras_plugins.semantics.features.validity import RULES

_HEAD = f"""# Semantic features

<!-- Made by `python -m kras_plugins.semantics.features.page > docs/features.md`; a test compares the two. -->

`kras` turns the cells and tissue of a slide into {len(FEATURES)} numbers; {len(CORE)} of them, marked *, are the preset
`core`. A feature that cannot be computed is missing (NaN), never zero: a group whose rule is not met is missing as a
whole and flagged invalid, and a feature is missing where the source cannot give what it needs.

**Symbols.** T tumor cell, L lymphocyte (including plasma cells where a source does not distinguish them), F fibroblast;
CE cancer epithelium, CS cancer stroma, TA = CE + CS, the tumor area, which is the window of all spatial statistics. In
formulas CE, CS, TA and other tissue stand for areas. Lengths are in µm of the slide.

**Slides of one patient.** `sum`: added up. An area: averaged with that area as weight, which for densities equals
pooling the slides; ratios of counts are computed again from the sums. `call`: decided again from the patient's values.

**Fields of view** have areas, densities and ratios (A to C) whatever their size; the rules of B and C apply to all
fields of a patient together ([fields](how-to/fields.md)).

**Immune phenotype.** Group D uses the published thresholds (`lunit_jco2022`), 106 and 357 lymphocytes per mm². They
depend on the detector that counts the cells. With `-o classifier.rf.ip_preset=quantile` (`mlp`, `lgbm`) each classifier
finds thresholds on its training patients alone, such that 44.0 % of the patients are inflamed and 37.1 % excluded, as
published; they are frozen with the classifier. This needs at least 20 patients with three squares, and cells rather
than a table of features. The squares of a patient's slides are then pooled.

**In classifiers.** `mlp` learns from the preset `core`, `rf` and `lgbm` from all features; change this with
`-o classifier.mlp.features=all` or `-o classifier.rf.features=core`. Features in 1/mm² enter as ln(1 + x)
and `ip_class` as three columns of 0 and 1. Those marked † show how much tissue there is, a biopsy or a resection, and
are reported but not learned; nor is whether a group was valid. Missing values get the median of the training patients.

**Where epithelium comes from** (a model, an import, or the density of tumor cells) is in the profile's `source`.
"""


def features_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for group, title in GROUPS.items():
        rows = [f for f in FEATURES if f.group == group]
        parts.append(f"\n## {group} · {title} ({len(rows)})\n\nValid with {RULES[group]}.\n\n")
        parts.append(
            "| | feature | in words | unit | formula | source | needs | slides |\n|---|---|---|---|---|---|---|---|\n"
        )
        for f in rows:
            needs = ", ".join(sorted(f.needs)) or "tissue"
            mark = "*" if f.core else "" if f.learned else "†"
            cells = (
                f"{f.group}{f.number}{mark}",
                f"`{f.name}`",
                plain(f.name).name,
                f.unit,
                f.formula,
                f.source,
                needs,
                f"`{f.weight}`",
            )
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(features_page(), end="")
