"""The process in which the models of a foreign bundle are tried: if they hang, crash or grow, only it is affected.

`python -m kras_plugins.study.probe REQUEST RESULT`: REQUEST is JSON (see `Request`). RESULT gets a line of JSON for
each step that begins, and one at the end: `{"fit": true}` or `{"error": [kind, message, hint]}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kras_plugins.errors import KINDS, KrasError, described
from kras_plugins.host.child import end_with_parent, limit_self


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which bundle to try with which plug-ins, and its limits: bytes of address space, seconds of CPU time.

    `path`: where modules are searched; `plugins`, `block`, `import_deadline` as in the settings of a study.
    """

    bundle: str
    path: Sequence[str]
    plugins: Sequence[str]
    block: Sequence[str]
    import_deadline: float
    memory: int
    seconds: int


def try_bundle(request: Request, doing: Callable[[str], None]) -> None:
    """Load every model of a bundle, and score and explain stand-ins with it; raises whatever is wrong with it."""
    from contextlib import suppress

    from kras_plugins.contracts.classifier import ClassifierPlugin
    from kras_plugins.errors import PluginError
    from kras_plugins.host.manager import discover
    from kras_plugins.learning.bundle import load_bundle
    from kras_plugins.learning.stand_ins import stand_ins
    from kras_plugins.study.bundle_facts import try_facts

    doing("finding plug-ins")
    registry = discover(request.block, [Path(file) for file in request.plugins], request.import_deadline)

    def load(name: str, models: Path) -> Any:
        doing(f"loading {models.relative_to(request.bundle).as_posix()}")
        return registry.record("classifier", name, ClassifierPlugin).load(models)

    bundle = load_bundle(Path(request.bundle), load, lambda name: registry.find("classifier", name).origin)
    doing("using the facts of its training")
    try_facts(bundle)
    samples = stand_ins(bundle.inputs, bundle.facts.get("training") or {})
    doing("scoring made-up patients")
    bundle.score(samples)
    for member in bundle.members:
        doing(f"explaining a score of {member.name}")
        with suppress(PluginError):  # what cannot be explained is left out of a page; the scores are not affected
            bundle.explain(member.name, samples[-1])


def main() -> None:
    """Try the bundle of the request."""
    request = Request(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    end_with_parent()
    limit_self(request.memory, request.seconds)
    sys.path[:0] = [p for p in request.path if p not in sys.path]
    with Path(sys.argv[2]).open("a", encoding="utf-8", newline="\n") as result:
        try:
            try_bundle(request, lambda what: _write(result, doing=what))
        except KrasError as e:
            kind = next(kind.__name__ for kind in KINDS if isinstance(e, kind))
            _write(result, error=[kind, e.message, e.hint])
        except BaseException as e:  # noqa: BLE001 - whatever it is, the bundle is refused for it
            _write(result, error=["StoreError", described(e), ""])
        else:
            _write(result, fit=True)
    os._exit(0)  # do not wait for threads that a model left behind


def _write(result: IO[str], **line: Any) -> None:
    result.write(json.dumps(line) + "\n")
    result.flush()


if __name__ == "__main__":
    main()
