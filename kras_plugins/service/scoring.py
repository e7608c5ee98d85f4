"""The scoring process: it takes orders one by one, each of which may hang, crash or grow without harm to others.

`python -m kras_plugins.service.scoring` reads each order, a line of JSON, from stdin and answers with a line of JSON on
the original stdout; what plug-ins print goes to stderr. When its parent is gone, it ends itself and all it started.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kras_plugins.errors import BackendError, KrasError, SlideError, StoreError, UsageError
from kras_plugins.files.spreadsheet import csv_text
from kras_plugins.host.child import kill_own_session
from kras_plugins.learning.samples import verdict_of
from kras_plugins.service.intake.allowed import allowed_path, allowed_url
from kras_plugins.service.intake.fingerprints import fingerprint
from kras_plugins.service.intake.places import file_of
from kras_plugins.service.leases import Outcome
from kras_plugins.store import file_sha256
from kras_plugins.study.outputs import PREDICTIONS
from kras_plugins.study.settings import StudySettings
from kras_plugins.urls import Url, place

CHANGED = "a slide was changed after it was submitted"
GONE = "a slide cannot be read where it was when it was submitted"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to score. `slides`: name, place and fingerprint of each; `work`: a folder that names patients.

    `roots` and `hosts`: where slides may lie. `results`: the folder of all results; `result`: this order's folder below
    it. `settings`: those of the study, as JSON values; `names`: the file of this order's pseudonyms, None without
    pseudonyms.
    """

    bundle: str
    patient_id: str
    slides: tuple[tuple[str, str, str], ...]
    roots: tuple[str, ...]
    hosts: tuple[str, ...]
    results: str
    result: str
    work: str
    settings: dict[str, Any]
    names: str | None


def score(order: Order) -> Outcome:
    """Score a case as `kras predict` does and return what came of it. Raises what `study.score` does."""
    from kras_plugins import study

    try:
        changed = any(fingerprint(_still(order, where)).text != found for _, where, found in order.slides)
    except (SlideError, UsageError):  # it names the place
        return Outcome(state="failed", reason=GONE)
    if changed:
        return Outcome(state="failed", reason=CHANGED)
    table = Path(order.work) / "cohort.csv"
    rows = [
        {"patient_id": order.patient_id, "slide_id": name, "path": _text(file_of(where))}
        for name, where, _ in order.slides
    ]
    table.write_text(csv_text(rows), encoding="utf-8", newline="")
    settings = StudySettings.model_validate_json(json.dumps(order.settings))
    if order.names is not None:
        settings = settings.having(pseudonyms=Path(order.names))
    out = Path(order.results) / order.result
    done = study.score(order.bundle, table, settings, out=out, command=("kras", "serve"))
    _flush(out)
    row = next(row for row in done.predictions.to_pylist() if row["patient_id"] == done.added[0])
    assessed = row["call"] != "not_assessable"
    broken = not row["slides"] and len(done.failures) == len(order.slides)  # no slide could be used at all
    return Outcome(
        state="scored" if assessed else "failed" if broken else "not_assessable",
        reason=row["reason"] or "",
        score=row["ensemble"],
        call=row["call"],
        qc=verdict_of(row["qc"]),
        cautions=row["cautions"] or "",
        result=order.result,
        digest=file_sha256(out / PREDICTIONS),
    )


def answer(order: Order) -> dict[str, Any]:
    """The outcome of an order as JSON values, or `error` and whether trying `again` may help."""
    try:
        return {"outcome": asdict(score(order))}
    except KrasError as e:
        return {"error": e.message, "again": isinstance(e, BackendError | StoreError)}


def main() -> None:
    """Answer orders until stdin ends; if it ends during an order, this process and all that it started are killed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while True:
        given = json.loads(orders.get())
        slides = tuple((name, where, found) for name, where, found in given.pop("slides"))
        print(json.dumps(answer(Order(slides=slides, **given))), file=answers, flush=True)


def _listen(orders: queue.Queue[str]) -> None:
    for line in sys.stdin:
        orders.put(line)
    kill_own_session()  # nobody waits for the answer any more


def _still(order: Order, where: str) -> Path | Url:
    """The place of a slide, if it may still be read: links and redirects may have changed since it was submitted."""
    found = place(where)
    return allowed_url(found, order.hosts) if isinstance(found, Url) else allowed_path(found, map(Path, order.roots))


def _text(found: Path | Url) -> str:
    return found.text if isinstance(found, Url) else str(found)


def _flush(folder: Path) -> None:
    """Flush a result to disk before the database says that there is one."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


if __name__ == "__main__":
    main()
