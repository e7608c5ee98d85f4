"""`--dry-run`: what would be computed and what is in the store already, slide by slide, without reading a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kras_plugins.cli.common import escape, print_json, stdout
from kras_plugins.data import SlideRef
from kras_plugins.errors import KrasError
from kras_plugins.host.parts import Parts
from kras_plugins.processing.pipeline import key_of_part, key_of_tissue
from kras_plugins.slides.slide import open_slide
from kras_plugins.store import Store


def print_plan(
    slides: Sequence[SlideRef], parts: Parts, store: Store, settings: Mapping[str, Any], *, fits: bool, as_json: bool
) -> None:
    """One row a slide: stored, to compute (its area bounds the work), or why it would be set aside.

    `fits`: whether models would be fitted when all slides are done, which a shard leaves to another call.
    """
    rows = [_row(ref, parts, store) for ref in slides]
    count = settings["folds"] * settings["repeats"] * len(settings["classifiers"]) if fits else 0
    if as_json:
        print_json({"settings": dict(settings), "slides": rows, "fits": count})
        return
    from rich.table import Table

    table = Table("slide", "tile features", "semantic map", "at most", box=None)
    for r in rows:
        area = "" if r.get("mm2") is None else f"{r['mm2']:.1f} mm²"
        table.add_row(escape(r["slide_id"]), r.get("bag") or escape(r.get("error", "")), r.get("map") or "", area)
    stdout().print(table)
    todo = sum("compute" in (r.get("bag"), r.get("map")) for r in rows)
    then = f"; then {count} outer fits, each with its inner ones" if fits else ""
    stdout().print(f"{len(rows)} slides, {todo} to compute{then}")


def _row(ref: SlideRef, parts: Parts, store: Store) -> dict[str, Any]:
    row: dict[str, Any] = {"slide_id": ref.slide_id}
    named = {"bag": parts.extractor, "map": parts.profiler}
    if all(part is None or part.loads for part in named.values()):
        return {**row, **{kind: "read from file" for kind, part in named.items() if part is not None}}
    try:
        with open_slide(ref, parts.readers, parts.reader) as slide:
            tissue = key_of_tissue(slide)
            row["mm2"] = slide.size[0] * slide.mpp[0] * slide.size[1] * slide.mpp[1] / 1e6
    except KrasError as e:
        return {**row, "error": str(e)}
    for kind, part in named.items():
        if part is not None and part.loads:
            row[kind] = "read from file"
        elif part is not None:
            row[kind] = "stored" if store.find(key_of_part(kind, part, tissue)) else "compute"
    return row
