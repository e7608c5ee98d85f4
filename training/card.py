"""The tables of docs/models/cells.md, written between their markers from the held-out figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_NAMES = {
    "f1": "nucleus F1 at IoU 0.5",
    "aji": "AJI",
    "pq": "PQ",
    "precision": "nucleus precision",
    "recall": "nucleus recall",
    "f1 lymphocyte": "lymphocyte F1 (found and typed)",
    "f1 tumor": "tumor F1 (found and typed)",
    "f1 fibroblast": "fibroblast F1 (found and typed)",
    "f1 lymphocyte/tumor": "lymphocyte-versus-tumor F1 (found and typed)",
    "typing lymphocyte/tumor": "lymphocyte-versus-tumor F1 (typing of found nuclei alone)",
}


def write_card(figures: Mapping[str, Any], card: Path) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->` for each of the tables."""
    tables = {"held-out": held_out(figures), "conditions": conditions(figures), "data": data(figures)}
    if "typing" in figures:  # not fitted yet, see training.cells.trust
        tables |= {"unlike": unlike(figures["typing"]), "calibration": calibration(figures["typing"])}
    write_tables(tables, card)


def write_tables(tables: Mapping[str, Iterable[str]], card: Path) -> None:
    """Replace the text between the markers of each table; ValueError unless each marker occurs once."""
    text = card.read_text(encoding="utf-8")
    for name, lines in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"{card}: expected {start.strip()} and {end} once each")
        before, rest = text.split(start)
        text = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    card.write_text(text, encoding="utf-8")


def never_seen(figures: Mapping[str, Any]) -> Iterator[str]:
    """Rows of scores on kinds of images that the weights were not trained on, at two resolutions, and their mean."""
    yield "| set | F1 | Dice | precision | recall | PQ | F1 when scanned at 0.25 µm/px | merged; split |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, part in figures.items():
        scores, finer = part["0.5"]["scores"], part["0.25"]["scores"]
        dotted = "faults" not in part
        cells = [_cell(scores[name]) if name in scores else "–" for name in ("f1", "dice", "precision", "recall", "pq")]
        faults = "; ".join(f"{part['faults'][f]['all'][1]:.0%}" for f in ("merged", "split")) if not dotted else "–"
        n = f"{part['0.5']['nuclei']} {'dots' if dotted else 'nuclei'}"
        yield f"| {kind}: {n} | {' | '.join(cells)} | {_cell(finer['f1'])} | {faults} |"
    if len(figures) > 1:
        means = [_mean(figures, name) for name in ("f1", "dice", "precision", "recall", "pq")]
        yield f"| mean | {' | '.join(means)} | {_mean(figures, 'f1', '0.25')} | |"


def _mean(figures: Mapping[str, Any], name: str, mpp: str = "0.5") -> str:
    values = [part[mpp]["scores"][name][0] for part in figures.values() if name in part[mpp]["scores"]]
    return f"{sum(values) / len(values):.3f}"


def recall_by(figures: Mapping[str, Any], what: str) -> Iterator[str]:
    """Rows of recall by `what`, such as "recall by contrast", for each outlined kind."""
    kinds = [kind for kind, part in figures.items() if "faults" in part]
    names = dict.fromkeys(name for kind in kinds for name in figures[kind]["faults"][what])
    yield f"| {what} | {' | '.join(kinds)} |"
    yield "|" + "---|" * (len(kinds) + 1)
    for name in names:
        found = [figures[kind]["faults"][what].get(name) for kind in kinds]
        yield f"| {name} | {' | '.join('–' if f is None else f'{f[1]:.2f} of {f[0]}' for f in found)} |"


def held_out(figures: Mapping[str, Any]) -> Iterator[str]:
    """Rows of trained and untrained scores with their intervals."""
    yield "| held-out set | score | trained | untrained first version |"
    yield "|---|---|---|---|"
    for name, only in (("dsb2018", ("f1", "aji", "pq", "precision", "recall")), ("hgsc", tuple(_NAMES))):
        part = figures["trained"][name]
        unit = "images" if name == "dsb2018" else "blocks"
        kinds = ", ".join(f"{n} {c}" for c, n in part["classes"].items() if n)
        n = f"{name}: {part['units']} {unit}, {part['nuclei']} nuclei" + (f" ({kinds})" if kinds else "")
        for score in only:
            cells = [_cell(figures[who][name]["scores"][score]) for who in ("trained", "untrained")]
            yield f"| {n} | {_NAMES[score]} | {cells[0]} | {cells[1]} |"


def conditions(figures: Mapping[str, Any]) -> Iterator[str]:
    """Rows of scores under changed conditions."""
    yield "| what the network is shown | DSB2018 nucleus F1 | HGSC nucleus F1 | HGSC lymphocyte-versus-tumor F1 |"
    yield "|---|---|---|---|"
    for name, part in figures["conditions"].items():
        columns = []
        for field, score in (("dsb2018", "f1"), ("hgsc", "f1"), ("hgsc", "f1 lymphocyte/tumor")):
            trained, untrained = (part[who][field]["scores"][score][0] for who in ("trained", "untrained"))
            columns.append(f"{trained:.2f} ({untrained:.2f})")
        yield f"| {name} | {' | '.join(columns)} |"


def data(figures: Mapping[str, Any]) -> Iterator[str]:
    """Rows of what was trained on and what was held out."""
    yield "| side | kind | images and nuclei |"
    yield "|---|---|---|"
    for side, kinds in figures["data"].items():
        for kind, text in kinds.items():
            yield f"| {side} | {kind} | {text} |"


def unlike(typing: Mapping[str, Any]) -> Iterator[str]:
    """Rows of tissue by how much of it is unlike training."""
    yield "| tissue | windows | unlike training | median d² (the limit is 1) | AUROC against left-out fields |"
    yield "|---|---|---|---|---|"
    for name, found in typing["unlike"]["measured"].items():
        if not found["windows"]:
            yield f"| {name} | 0 | | | |"
            continue
        auroc = f"{found['auroc']:.2f}" if "auroc" in found else "left out"
        yield f"| {name} | {found['windows']} | {found['share above']:.0%} | {found['median']:.2f} | {auroc} |"


def calibration(typing: Mapping[str, Any]) -> Iterator[str]:
    """Rows of calibration errors by kind of image."""
    yield "| left-out nuclei | n | right | error before | error after | error with the temperature of the other kinds |"
    yield "|---|---|---|---|---|---|"
    for kind, found in typing["kinds"].items():
        other = found.get("error as the others set it")
        errors = [found["error before"], found["error after"], other]
        cells = " | ".join("" if e is None else f"{e:.3f}" for e in errors)
        yield f"| {kind} | {found['nuclei']} | {found['accuracy']:.0%} | {cells} |"
    yield ""
    yield f"The best temperature is {typing['temperature']:.2f}, the one used {typing['used']:.2f}."


def _cell(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f}–{value[2]:.3f})"


def bars(kinds: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Rows of F1 by what is added to the logit of being nucleus and by `min_prob`: mean over kinds, and the least."""
    every = list(next(iter(kinds.values())))
    shifts, sure = (list(dict.fromkeys(bar.split(", ")[i] for bar in every)) for i in (0, 1))
    yield f"| added to the logit | {' | '.join(f'`min_prob` {s}' for s in sure)} |"
    yield "|" + "---|" * (len(sure) + 1)
    for by in shifts:
        found = [[f1[f"{by}, {s}"] for f1 in kinds.values()] for s in sure]
        yield f"| {by} | {' | '.join(f'{sum(f1) / len(f1):.3f} ({min(f1):.3f})' for f1 in found)} |"


def write_never_seen(figures: Mapping[str, Any], card: Path) -> None:
    """Write the tables of what was left out, of the bars compared and of the test split from training/left_out.json."""
    left_out = figures["left out"]
    lines = [*never_seen(left_out), ""]
    for what in ("recall by contrast", "recall by area (µm²)"):
        lines += [*recall_by(left_out, what), ""]
    tables = {
        "never-seen": lines[:-1],
        "bars": bars(figures["bars"]),
        "test-split": never_seen({"breast, test split": figures["test split"]}),
    }
    write_tables(tables, card)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    write_never_seen(json.loads((root / "training/left_out.json").read_text()), root / "docs/models/cells.md")
