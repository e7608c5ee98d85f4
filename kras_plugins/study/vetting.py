"""Whether a bundle may be used here: its models are tried once, in a process of their own, before this one loads them.

Native files of foreign models (trees of LightGBM, ONNX graphs, skops) can end the process that reads them, or keep it
for ever, and no seal says that they do not. A bundle that passed is remembered in the store by its digest; what failed
is tried again, for a busy machine may be why.
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
"""What loading and running all models on a dozen made-up patients never takes: by the clock, and of a processor."""

MEMORY = 8 << 30
"""Bytes of address space beside four times the bundle's own."""


def vet(session: Session, folder: Path, digest: str, plugins: Iterable[str]) -> None:
    """Try the models of a bundle whose seal was checked, unless one of this digest passed before.

    `plugins`: the classifiers that load them. Raises KrasError where the models cannot be used, or end, hold up or
    outgrow the process that tries them.
    """
    key = _verdict(session, digest, plugins)
    if session.store.find(key) is None:
        _try(session, folder)
        _record(session, key)


def vetted(session: Session, digest: str, plugins: Iterable[str]) -> None:
    """Remember a bundle that this process has just written, of models that it has just scored with."""
    _record(session, _verdict(session, digest, plugins))


def _verdict(session: Session, digest: str, plugins: Iterable[str]) -> Key:
    found = [session.registry.find("classifier", name) for name in sorted(set(plugins))]
    return make_key("verdict", bundle=digest, kras=__version__, plugins=[f"{p.id} {p.version}" for p in found])


def _record(session: Session, key: Key) -> None:
    with suppress(StoreError):  # a store that cannot be written still serves; the bundle is tried again next time
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
        request.write_text(json.dumps(asdict(asked)), encoding="utf-8")
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
        raise StoreError(f"bundle refused: {folder}: trying its models came to {came}{doing}", _ASK)


_ASK = "ask who made it for a sound copy, or train your own"
