"""Whether a bundle may be used here: its models are tried once, in a separate process, before this one loads them.

Native files of foreign models (trees of LightGBM, ONNX graphs, skops) can end the process that reads them or block it
for ever, and no seal rules this out. A bundle that passed is recorded in the store by its digest. A bundle that failed
is tried again, as a busy machine may be the reason.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins import __version__
from kras_plugins.errors import KINDS, StoreError
from kras_plugins.files.leftovers import scratch
from kras_plugins.host.child import run_alone
from kras_plugins.store import Key, make_key
from kras_plugins.study.probe import Request

if TYPE_CHECKING:
    from kras_plugins.study.session import Session

SECONDS, OF_WORK = 600, 180
"""Limits that loading and running all models on a dozen made-up patients never reach: wall time and CPU time."""

MEMORY = 8 << 30
"""Bytes of address space in addition to four times the bundle's own."""


def vet(session: Session, folder: Path, digest: str, plugins: Iterable[str]) -> None:
    """Try the models of a bundle whose seal was checked, unless one of this digest passed before.

    `plugins`: the classifiers that load them. Raises KrasError if the models cannot be used, or if they end or block
    the process that tries them or exceed its memory.
    """
    key = _verdict(session, digest, plugins)
    if session.store.find(key) is None:
        _try(session, folder)
        _record(session, key)


def vetted(session: Session, digest: str, plugins: Iterable[str]) -> None:
    """Record a bundle that this process has just written, with models that it has just scored with."""
    _record(session, _verdict(session, digest, plugins))


def _verdict(session: Session, digest: str, plugins: Iterable[str]) -> Key:
    found = [session.registry.find("classifier", name) for name in sorted(set(plugins))]
    return make_key("verdict", bundle=digest, kras=__version__, plugins=[f"{p.id} {p.version}" for p in found])


def _record(session: Session, key: Key) -> None:
    with suppress(StoreError):  # a store that cannot be written still works; the bundle is tried again next time
        session.store.make(key, lambda _: None)


def _try(session: Session, folder: Path) -> None:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    with scratch("probe") as work:
        request, result, errors = (work / name for name in ("request.json", "result.jsonl", "stderr.txt"))
        asked = Request(
            bundle=str(folder.absolute()),
            path=sys.path,
            plugins=[str(file.absolute()) for file in session.settings.plugins],
            block=session.settings.block,
            import_deadline=session.settings.import_deadline,
            memory=MEMORY + 4 * size,
            seconds=OF_WORK,
        )
        request.write_text(json.dumps(asdict(asked)), encoding="utf-8", newline="\n")
        result.touch()
        came = run_alone("kras_plugins.study.probe", [str(request), str(result)], SECONDS, errors)
        lines: list[dict[str, Any]] = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    last = lines[-1] if lines else {}
    if "error" in last:
        kind, message, hint = last["error"]
        told = message if message.startswith("bundle refused") else f"bundle refused: {folder}: {message}"
        raise next(k for k in KINDS if k.__name__ == kind)(told, hint or _ASK)
    if "fit" not in last:
        doing = f" while {last['doing']}" if "doing" in last else ""
        raise StoreError(f"bundle refused: {folder}: trying its models ended in {came}{doing}", _ASK)


_ASK = "ask whoever made it for an intact copy, or train your own"
