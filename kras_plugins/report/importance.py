"""What classifiers lose when features are permuted, as a figure and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kras_plugins.report.html import NONE, Table, number
from kras_plugins.report.reported import Facts, count
from kras_plugins.report.style import INK, NARROW, above, draw_svg, line_style, model_label, model_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FEATURES = 10
"""Single features of a classifier in the report; metrics.json has all that were permuted."""


@dataclass(frozen=True, kw_only=True)
class ImportanceTables:
    """`groups`: a row per feature group, a column per classifier; `features`: single ones; `notes`: who has none, why.

    `areas`: the AUROC that each classifier starts from, in words.
    """

    groups: Table
    features: Table
    areas: tuple[str, ...]
    notes: tuple[str, ...]


def importance_tables(importance: Facts | None) -> ImportanceTables | None:
    """The entry `importance` of metrics.json as tables; None without one."""
    members = _known(importance)
    if not members:
        return None
    measured = _measured(members)
    by_group = {name: {row["group"]: row for row in found["groups"]} for name, found in measured.items()}
    groups = [
        [
            f"{_group_name(row)} ({number(row.get('features'), 0)})",
            *(_drop(rows.get(row["group"])) for rows in by_group.values()),
        ]
        for row in _order(measured)
    ]
    features = [
        [model_label(name), str(row.get("feature") or NONE), str(row.get("group") or NONE), _drop(row)]
        for name, found in measured.items()
        for row in [row for row in found.get("features") or () if row and (row.get("drop") or 0) > 0][:MOST_FEATURES]
    ]
    return ImportanceTables(
        groups=(["Group (features)", *map(model_label, measured)], groups),
        features=(["Model", "Feature", "Group", "Drop in AUROC ± SD"], features),
        areas=tuple(
            f"{model_label(name)}: AUROC {number(found.get('auroc'))}, {count(found, 'n')} patients, "
            f"{count(found, 'n_positive')} positive, {count(found, 'permutations')} permutations"
            for name, found in measured.items()
        ),
        notes=tuple(f"{model_label(name)}: {found['note']}." for name, found in members.items() if found.get("note")),
    )


def importance_plot(importance: Facts | None) -> str:
    """Mean drop in AUROC of every classifier by feature group, bars of one SD; "" without any."""
    measured = _measured(_known(importance))
    if not measured:
        return ""
    order = _order(measured)
    place = {row["group"]: y for y, row in enumerate(order)}

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.axvline(0, color=INK, lw=0.8)
        for position, (name, found) in enumerate(measured.items()):
            color, _ = line_style(name, position)
            shift = 0.14 * (position - (len(measured) - 1) / 2)
            known = [row for row in found["groups"] if row.get("drop") is not None]
            y = [place[row["group"]] + 0.12 + shift for row in known]
            x, sd = [row["drop"] for row in known], [row.get("sd") or 0.0 for row in known]
            marker = "osD^vP"[position % 6]
            ax.errorbar(x, y, xerr=sd, fmt=marker, color=color, ms=4.5, lw=1.2, label=model_label(name))
        beside = ax.get_yaxis_transform()
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # so that no line crosses the words
        for row in order:
            ax.text(0, place[row["group"]] - 0.2, _group_name(row), va="bottom", transform=beside, bbox=paper)
        ax.set(ylim=(len(order) - 0.4, -0.75), yticks=[], xlabel="Drop in AUROC when the group is permuted")
        ax.spines["left"].set_visible(False)
        above(figure)

    return draw_svg("importance", (NARROW, 1.0 + 0.42 * len(order) + 0.17 * len(measured)), paint)


def _known(importance: Facts | None) -> dict[str, Mapping[str, Any]]:
    return {name: importance[name] or {} for name in model_order(importance)} if importance else {}


def _measured(members: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those with groups, without nulls among these."""
    named = {n: [row for row in m.get("groups") or () if row and row.get("group")] for n, m in members.items()}
    return {name: {**members[name], "groups": rows} for name, rows in named.items() if rows}


def _order(measured: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Every group once, the one that any classifier loses most with first."""
    rows = sorted((row for found in measured.values() for row in found["groups"]), key=lambda r: -(r.get("drop") or 0))
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["group"], row)
    return list(first.values())


def _group_name(row: Mapping[str, Any]) -> str:
    name, group = str(row.get("name") or row["group"]), str(row["group"])
    return f"{group} · {name}" if name != group else "features outside of the feature table"


def _drop(row: Mapping[str, Any] | None) -> str:
    if row is None or row.get("drop") is None:
        return NONE
    return f"{number(row['drop'])} ± {number(row.get('sd'))}".replace(" ", "\N{NO-BREAK SPACE}")
