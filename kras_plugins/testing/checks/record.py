"""Checks of every plug-in: how it is found, how long its import takes, and what its options promise."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from kras_plugins.contracts.base import Options
from kras_plugins.errors import ConfigError
from kras_plugins.hookspecs import KINDS
from kras_plugins.store import make_key
from kras_plugins.testing.checks.candidate import Candidate, import_line, records_of
from kras_plugins.testing.checks.outcome import MODULE, Failed, NotApplicable
from kras_plugins.testing.checks.rule import check, refused, require

EVERY = tuple(KINDS)

HEAVY = (
    "torch", "torchvision", "timm", "transformers", "tensorflow", "jax", "openvino", "onnxruntime", "tensorrt", "cupy",
    "tritonclient",
)  # fmt: skip
"""Libraries that a mere list of plug-ins must not wait for: those of engines and GPUs."""

IMPORT_SECONDS = 20.0
"""Generous: an import without these takes tenths of a second."""


@check(MODULE, file="hookspecs.py", words="no arguments, yield records, do no work")
def hooks(candidate: Candidate) -> None:
    """Its hooks are known and marked, take no arguments, and yield records of their kind, each name once."""
    module = candidate.module
    there = [name for name in (f"kras_{kind}s" for kind in KINDS) if hasattr(module, name)]
    hookish = [n for n, v in vars(module).items() if callable(v) and (n.startswith("kras_") or hasattr(v, "kras_impl"))]
    strange = sorted(set(hookish) - set(there))
    require(not strange, f"only hooks {', '.join(f'kras_{k}s' for k in KINDS)}", ", ".join(strange))
    require(bool(there), f"one of {', '.join(f'kras_{k}s' for k in KINDS)}", "no hook")
    bare = [name for name in there if not hasattr(getattr(module, name), "kras_impl")]
    require(not bare, "hooks decorated with @kras_plugins.hookimpl", f"{', '.join(bare)} without it")
    found = records_of(module)
    require(bool(found), "a record", "hooks that yield nothing")
    for kind, record in found:
        require(isinstance(record, KINDS[kind]), f"{KINDS[kind].__name__} records from kras_{kind}s", repr(record))
    ids = [f"{kind}:{record.name}" for kind, record in found]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    require(not twice, "each name once in its kind", f"{', '.join(twice)} twice")
    again = [f"{kind}:{record.name}" for kind, record in records_of(module)]
    require(again == ids, "the same records at every call", f"{', '.join(ids)}, then {', '.join(again)}")


@check(MODULE, file="contracts/base.py", words="the work behind `create` or `open` is imported when it is called")
def cheap_import(candidate: Candidate) -> None:
    """Importing it and calling its hooks is quick and imports no engine (torch, openvino, a GPU's library)."""
    code = (
        f"import sys; sys.path[:] = {[p for p in sys.path if p]!r}; {import_line(candidate.module)}\n"
        f"for kind in {list(KINDS)!r}: list(getattr(plugin, 'kras_' + kind + 's', tuple)())\n"
        f"print('found', *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"an import of at most {IMPORT_SECONDS:g} s", "one that takes longer") from None
    last = (done.stderr.strip().splitlines() or [""])[-1]
    require(done.returncode == 0, "an import in a process of its own", f"exit code {done.returncode}: {last}")
    heavy = last.removeprefix("found").split()
    require(not done.stdout, "nothing on stdout, which belongs to results", repr(done.stdout[:200]))
    require(not heavy, "imports of engines inside the functions that need them", f"import of {', '.join(heavy)}")


@check(*EVERY, file="contracts/base.py", words="frozen, unknown keys refused, each field described")
def options_valid(candidate: Candidate) -> None:
    """Its options are valid as given here (those without a default must be given), and each has a description."""
    blank = [n for n, f in candidate.record.options.model_fields.items() if not (f.description or "").strip()]
    require(not blank, "a description of every option", f"none of {', '.join(blank)}")
    require("\n" not in candidate.record.summary, "a summary of one line", repr(candidate.record.summary))
    try:
        options = candidate.options
    except NotApplicable as e:
        raise Failed("valid options (give those without a default to the check)", str(e.__cause__)) from e
    for name in type(options).model_fields:
        with refused(f"assigning to option {name}", ValueError):
            setattr(options, name, getattr(options, name))


@check(*EVERY, file="contracts/base.py", words="unknown keys refused")
def unknown_option_refused(candidate: Candidate) -> None:
    """An unknown option is refused: a misspelled one must not be ignored."""
    given: dict[str, Any] = {"no_such_option": 1}
    with refused("an option no_such_option", ValueError, came=lambda: "options that took it"):
        candidate.record.options.model_validate({**candidate.options.model_dump(), **given})


@check(
    *EVERY, file="contracts/base.py", words="as JSON values: all but the `tuning()` fields. They enter the store key"
)
def options_stored(candidate: Candidate) -> None:
    """Options that change results can be written as JSON, into store keys and bundles, and read back unchanged."""
    options: Options = candidate.options
    try:
        facts = options.result_affecting()
        make_key("options", options=facts)
        back = type(options).model_validate(json.loads(json.dumps(facts)))
    except (ConfigError, NotApplicable):
        raise
    except Exception as e:
        raise Failed("options that can be written as JSON and read back", f"{type(e).__name__}: {e}") from e
    require(back.result_affecting() == facts, f"{facts} again", back.result_affecting())
