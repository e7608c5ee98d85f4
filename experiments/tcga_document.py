"""The tables of docs/experiments/tcga-hif.md, written between their markers from metrics.json of the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Metrics = Mapping[str, Mapping[str, Any]]

TITLES = {"g12c": "G12C", "kras_any_nonsilent": "any KRAS", "random": "random", "site": "site-preserved"}
NAMES = {
    "mlp": "AI-MLP", "rf": "AI-RF", "lgbm": "LightGBM", "ensemble": "**ensemble**", "prevalence": "prevalence",
    "histology_only": "histology only", "clinical": "clinical covariates", "til_only": "lymphocytes only",
    "site_only": "site only",
}  # fmt: skip
POPULATIONS = {"in_scope": "in scope", "all_patients": "all patients", "adenocarcinoma": "adenocarcinoma"}
RULE = "rule_out"


def write_document(document: Path, metrics: Metrics) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`; ValueError where a marker is not there once."""
    text = document.read_text(encoding="utf-8")
    pooled = {name: m for name, m in metrics.items() if name.endswith("-pooled")}
    luad = {name: m for name, m in metrics.items() if name.endswith("-luad")}
    tables = {
        "runs": runs(metrics),
        "scope": areas(pooled, "models"),
        "pooled": areas(pooled, "all_patients_pooled"),
        "luad": areas(luad, "models"),
        "comparisons": comparisons(metrics),
        "triage": triage(metrics),
        "calibration": calibration(metrics),
        "confounders": confounders(metrics.get("g12c-random-pooled") or {"confounders": []}),
        "incremental": incremental(metrics),
        "probes": probes(metrics),
    }
    for name, lines in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"{document}: expected {start.strip()} and {end} once each")
        before, rest = text.split(start)
        text = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    document.write_text(text, encoding="utf-8")


def runs(metrics: Metrics) -> Iterator[str]:
    """What was run: patients, positives, sites, the smallest AUROC in scope that could be told from chance."""
    yield from _head(
        "run",
        "patients",
        "in scope",
        "positives",
        "repeats of 5 folds",
        "institutions (with positives)",
        "AUROC told from 0.5",
    )
    for name, m in metrics.items():
        sites = m["models"]["ensemble"]["auroc"]["by_site"]
        cells = (
            m["cohort_flow"]["labelled"], m["n"], m["n_positive"], m["repeats"],
            f"{sites['sites']} ({sites['sites_with_positives']})", f"≥ {_number(m['power']['auroc_detectable'])}",
        )  # fmt: skip
        yield f"| {_run(name)} | {' | '.join(map(str, cells))} |"


def areas(metrics: Metrics, table: str) -> Iterator[str]:
    """AUROC of each model in each run, with n and positives in the head."""
    present = {name: m[table] for name, m in metrics.items() if m[table]}
    if not present:
        yield "Still to be run."
        return
    heads = [f"{_run(name)}<br>n={_any(t)['n']}, {_any(t)['n_positive']} pos." for name, t in present.items()]
    yield from _head("AUROC (95 % interval)", *heads)
    for model, title in NAMES.items():
        cells = [_interval((t.get(model) or {}).get("auroc")) for t in present.values()]
        if any(cell != "–" for cell in cells):
            yield f"| {title} | {' | '.join(cells)} |"


def comparisons(metrics: Metrics) -> Iterator[str]:
    """The ensemble against each member and baseline, paired."""
    yield from _head(
        "run",
        "against",
        "among",
        "difference of AUROC (95 %)",
        "p",
        "p (Holm)",
        "smallest difference found with 80 % power",
    )
    for name, m in metrics.items():
        for row in m["comparisons"]:
            cells = (_number(row[key]) for key in ("p", "p_holm", "minimum_detectable"))
            delta = _interval({"value": row["delta"], "low": row["low"], "high": row["high"]}, sign=True)
            against = f"{NAMES.get(row['b'], row['b'])} | {POPULATIONS[row['population']]}"
            yield f"| {_run(name)} | {against} | {delta} | {' | '.join(cells)} |"


def triage(metrics: Metrics) -> Iterator[str]:
    """What the ensemble is worth where it is cut to rule out, for patients in scope."""
    yield from _head(
        "run",
        "sensitivity",
        "specificity",
        "ruled out",
        "NPV",
        "patients without the mutation",
        "worth more than sequencing everybody",
    )
    for name, m in metrics.items():
        point, found = m["models"]["ensemble"]["operating_points"][RULE], m["triage"]
        cells = [_interval(point[key], 2) for key in ("sensitivity", "specificity")]
        cells += [_interval(found["ruled_out"], 2), _interval(found["npv"], 3)]
        cells += [_number(found["one_minus_prevalence"]), "yes" if found["worth_more"] else "not shown"]
        yield f"| {_run(name)} | {' | '.join(cells)} |"


def calibration(metrics: Metrics) -> Iterator[str]:
    """Precision and calibration of the ensemble in scope."""
    yield from _head("run", "AUPRC (95 %), lift over prevalence", "Brier", "calibration slope")
    for name, m in metrics.items():
        one = m["models"]["ensemble"]
        auprc = f"{_interval(one['auprc'])}, ×{_number(one['auprc']['lift'], 2)}"
        fit = one["calibration"]
        yield f"| {_run(name)} | {auprc} | {_interval(fit['brier'])} | {_interval(fit['slope'], 2)} |"


def confounders(m: Mapping[str, Any]) -> Iterator[str]:
    """AUROC of the ensemble within the levels of what goes with the label."""
    yield from _head("factor", "level", "n", "positives", "p of association with G12C", "AUROC within (95 %)")
    for row in m["confounders"]:
        if row["factor"] == "site" and row["auroc"] is None:
            continue  # dozens of sites with too few positives
        shown = _interval(row["auroc"]) if row["auroc"] else f"– ({row['note']})"
        yield (
            f"| {row['factor']} | {row['level']} | {row['n']} | {row['n_positive']} | "
            f"{_number(row.get('p_association'))} | {shown} |"
        )


def incremental(metrics: Metrics) -> Iterator[str]:
    """What the ensemble's score adds to what is known without it."""
    yield from _head(
        "run", "over", "among", "n, positives", "AUROC without", "AUROC with the score", "difference (95 %)", "p"
    )
    for name, m in metrics.items():
        for row in (r for r in m["incremental"] if r["model"] == "ensemble" and r["population"] != "adenocarcinoma"):
            cells = [_interval(row.get(key)) for key in ("auroc_base", "auroc_with", "delta_auroc")]
            over = f"{' + '.join(row['over'])} | {POPULATIONS[row['population']]}"
            n = f"{row['n']}, {row['n_positive']}"
            yield f"| {_run(name)} | {over} | {n} | {' | '.join(cells)} | {_number(row['p'])} |"


def probes(metrics: Metrics) -> Iterator[str]:
    """What else the score can tell."""
    yield from _head("run", "probe", "statistic", "value (95 %)", "p")
    for name, m in metrics.items():
        for row in m["probes"]:
            yield f"| {_run(name)} | {row['what']} | {row['statistic']} | {_interval(row)} | {_number(row['p'])} |"


def _head(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"


def _run(name: str) -> str:
    target, splits, scope = name.split("-")
    return f"{TITLES[target]}, {TITLES[splits]}{', LUAD' if scope == 'luad' else ''}"


def _any(table: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = table["ensemble"]
    return found


def _interval(entry: Mapping[str, Any] | None, digits: int = 3, *, sign: bool = False) -> str:
    if not entry or entry.get("value") is None:
        return "–"
    plus = "+" if sign else ""
    value = f"{entry['value']:{plus}.{digits}f}"
    if entry.get("low") in (None, entry.get("high")):  # nothing known, or the same score for everyone
        return value
    return f"{value} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "< 1e-300"  # a p that underflows
    return f"{value:.{digits}f}" if abs(value) >= 10**-digits else f"{value:.1g}"
