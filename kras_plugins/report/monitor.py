"""The page of `kras monitor`: the verdict, what was compared, charts over time, and what calls are worth so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.report.change_plan import STEPS
from kras_plugins.report.html import NONE, estimate, number, p_value, percent, write_page
from kras_plugins.report.monitor_plots import estimate_plot, scanner_shares, share_plot, value_plot
from kras_plugins.report.provenance import provenance_rows
from kras_plugins.report.reported import rule_label
from kras_plugins.report.style import model_label

Result = Mapping[str, Any]
TITLES = {
    "scanner": "Scanner", "mpp": "Resolution", "stain": "Stain", "quality": "Quality of slides",
    "abstention": "Share not assessable", "features": "Features", "score": "Score", "prevalence": "Prevalence",
    "calibration": "Calibration", "rates": "Sensitivity and specificity",
}  # fmt: skip
_LABELS = ("prevalence", "calibration", "rates")
_PROVENANCE = ("kras", "target", "bundle_digest", "now", "plan", "patients", "looks", "command")


def write_monitor(file: Path, result: Result) -> Path:
    """Write the page; `result`: the content of monitor.json."""
    return write_page(file, "monitor.html.j2", _view(result))


def states(result: Result) -> list[dict[str, str]]:
    """By group its `title`, its `state` in words, what stands out most (`seen`), `p`, `psi`; of drift, the `step`."""
    return [_state(name, result) for name in TITLES]


def _state(name: str, result: Result) -> dict[str, str]:
    found = {"name": name, "title": TITLES[name], "state": "", "seen": "", "p": NONE, "psi": NONE, "step": ""}
    if why := result["not_compared"].get(name):
        return found | {"state": f"cannot be compared: {why}"}
    looks = [look for look in result["labels" if name in _LABELS else "inputs"] if name in look["groups"]]
    if not looks:
        return found | {"state": "not looked at yet"}
    since = result["verdict"]["groups"].get(name)
    look = next((one for one in looks if one["window"] == since), looks[-1])
    group = look["groups"][name]
    checks = [c for c in (*group["window"], *group["so_far"]) if c["p"] is not None]
    if not checks:
        why = next((c["note"] for c in group["window"]), "nothing is compared")
        return found | {"state": f"not compared: {why}"}
    first = min(checks, key=lambda c: c["p"])
    unknown = f"; unknown of {first['unknown']}" if first["unknown"] else ""
    which = f"{first['name']} (most of {group['checks']}): " if group["checks"] > 1 else ""
    return found | {
        "state": f"drift, since {since}" if since else "no drift found",
        "seen": f"{which}{first['detail']}; n={first['n']}{unknown}",
        "p": p_value(group["p_holm"]),
        "psi": _psi(first["psi"]),
        "step": STEPS[name] if since else "",
    }


def _psi(psi: Mapping[str, Any] | None) -> str:
    if psi is None:
        return NONE
    return (
        f"{number(psi['corrected'], 2)}, {psi['size']} ({number(psi['value'], 2)} less {number(psi['by_chance'], 2)})"
    )


def _view(result: Result) -> dict[str, Any]:
    target = target_label(result["target"])
    rows = states(result)
    return {
        "title": f"Monitoring: {target} from H&E",
        "target": target,
        "verdict": result["verdict"],
        "demonstration": result["demonstration"],
        "patients": result["patients"],
        "plan": result["plan"],
        "groups": rows,
        "drifted": [row for row in rows if row["step"]],
        "looks": [(title, [_look(look) for look in result[key]]) for key, title in _STREAMS.items()],
        "figures": _figures(result),
        "performance": [_performance(entry) for entry in result["performance"]],
        "provenance": provenance_rows({key: result[key] for key in _PROVENANCE if key in result}),
    }


_STREAMS = {"inputs": "At slides, features and scores", "labels": "At labels"}


def _look(look: Mapping[str, Any]) -> dict[str, str]:
    alarms = [TITLES[name] for name, group in look["groups"].items() if group["alarm"]]
    return {
        "window": look["window"],
        "days": look["first"] if look["first"] == look["last"] else f"{look['first']} to {look['last']}",
        "n": str(look["n"]),
        "look": NONE if look["look"] is None else str(look["look"]),
        "level": NONE if look["level"] is None else number(look["level"], 4),
        "found": look["note"] or ", ".join(alarms) or "no drift found",
    }


def _performance(entry: Mapping[str, Any]) -> dict[str, Any]:
    rules = entry.get("rules") or {}
    return {
        "model": model_label(entry["model"]),
        "main": entry["model"] == "ensemble",
        "n": entry["n"],
        "n_positive": entry["n_positive"],
        "note": entry.get("note", ""),
        "auroc": estimate(entry.get("auroc")),
        "intercept": estimate(entry.get("intercept"), 2),
        "slope": estimate(entry.get("slope"), 2),
        "observed_expected": estimate(entry.get("observed_expected"), 2),
        "rules": [
            (rule_label(rule), percent(point["sensitivity"]), percent(point["specificity"]))
            for rule, point in rules.items()
        ],
    }


def _figures(result: Result) -> list[dict[str, str]]:
    series, training = result["series"], result["training"]
    windows = [own["window"] for own in series]
    before = training or {}
    drawn = [
        ("Score", "Logit of the ensemble of one fold's models, patients in scope.",
         value_plot("score", windows, [own["score"] for own in series], before.get("score"), "logit")),
        ("Not assessable, quality", "Lines at the left end: training.", _qualities(windows, series, training)),
    ]  # fmt: skip
    for i, color in enumerate(("red", "green", "blue")):
        values = [own["stain"][i] for own in series]
        if any(values):
            kept = before["stain"][i] if before else None
            svg = value_plot(f"stain-{color}", windows, values, kept, f"optical density, {color}")
            drawn.append((f"Stain, {color}", "Mean optical density of the tissue, one value per patient.", svg))
    if any(own["mpp"] for own in series):
        svg = value_plot("mpp", windows, [own["mpp"] for own in series], before.get("mpp"), "µm per pixel")
        drawn.append(("Resolution", "Median of a patient's slides.", svg))
    shares, kept = scanner_shares(series, training)
    if any(value is not None for values in shares.values() for value in values):
        drawn.append(
            ("Scanner", "Of patients whose scanner is known. Lines at the left end: training.",
             share_plot("scanner", windows, shares, kept))
        )  # fmt: skip
    return [{"title": title, "note": note, "svg": svg} for title, note, svg in [*drawn, *_labeled(result)]]


def _qualities(windows: Sequence[str], series: Sequence[Mapping[str, Any]], training: Mapping[str, Any] | None) -> str:
    def shares(own: Mapping[str, Any]) -> dict[str, float]:
        quality = own["quality"]
        return {
            "not assessable": own["not_assessable"] / own["n"],
            "a slide set aside": quality.get("fail", 0) / own["n"],
            "with a warning": quality.get("warn", 0) / own["n"],
        }

    found = [shares(own) for own in series]
    lines: dict[str, list[float | None]] = {
        name: [own[name] for own in found] for name in ("not assessable", "a slide set aside", "with a warning")
    }
    return share_plot("quality", windows, lines, {} if training is None else shares(training))


def _labeled(result: Result) -> list[tuple[str, str, str]]:
    by_window = result["performance_by_window"]
    if not by_window:
        return []
    windows = [own["window"] for own in by_window]
    entries = [{entry["model"]: entry for entry in own["models"]} for own in by_window]

    def of(model: str, *path: str) -> list[Mapping[str, Any] | None]:
        found = []
        for own in entries:
            value: Any = own.get(model, {})
            for key in path:
                value = (value or {}).get(key)
            found.append(value)
        return found

    calibrated = {model_label(m): of(m, "observed_expected") for m in ("ensemble", "histology_only")}
    rates = {
        "sensitivity at rule-out": of("ensemble", "rules", "rule_out", "sensitivity"),
        "specificity at rule-in": of("ensemble", "rules", "rule_in", "specificity"),
    }
    return [
        ("Calibration", "Positives observed over expected, with 95 % intervals; 1 is perfect.",
         estimate_plot("calibration", windows, calibrated, 1.0, "observed / expected")),
        ("Sensitivity and specificity", "Of the ensemble at the frozen thresholds, with Wilson's 95 % intervals.",
         estimate_plot("rates", windows, rates, None, "share")),
    ]  # fmt: skip
