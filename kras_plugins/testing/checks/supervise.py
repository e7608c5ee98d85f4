"""Check a plug-in from outside: start the worker, watch its deadline, and restart it after a hang or a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kras_plugins.errors import PluginError
from kras_plugins.files.leftovers import scratch
from kras_plugins.host.child import ending, kill, last_words
from kras_plugins.testing.checks.record import hooks
from kras_plugins.testing.checks.run import Outcome

_LOOK_SECONDS = 0.05
_START_SECONDS = (
    120.0  # for starting Python and kras on a busy machine; the deadline begins when the plug-in's turn comes
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to check. `options`: by `kind:name`; `asked`: those that must exist; `samples`: paths."""

    target: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: Sequence[str] = ()
    samples: Sequence[str] = ()
    triton: str = ""


def check_plugin(
    request: Request, deadline: float, on_outcome: Callable[[Outcome, int, int], None] = lambda *_: None
) -> list[Outcome]:
    """The outcome of every check; `on_outcome(outcome, done, of)` is called for each as it arrives.

    A check that takes longer than `deadline` seconds, or during which the process ends, has failed; the others are run
    in a new process. Raises PluginError if the target does not exist.
    """
    outcomes: list[Outcome] = []
    with scratch("check") as work:
        while True:
            done = [f"{o.subject}/{o.check}" for o in outcomes]
            ended = True
            cases = 0
            for line in _worker(work, {**asdict(request), "done": done, "path": sys.path}, deadline):
                if "error" in line:
                    raise PluginError(*line["error"])
                cases = len(line["cases"]) if "cases" in line else cases
                if "outcome" in line:
                    outcomes.append(Outcome(**line["outcome"]))
                    on_outcome(outcomes[-1], len(outcomes), cases)
                ended = "lost" not in line
            if ended or outcomes[-1].check == hooks.name:
                return outcomes


def _worker(work: Path, request: dict[str, Any], deadline: float) -> Iterator[dict[str, Any]]:
    """The lines of one worker process; if it is lost, the outcome of the current check and a line that says so."""
    (work / "request.json").write_text(json.dumps(request, default=str), encoding="utf-8", newline="\n")
    results, errors = work / "results.jsonl", work / "stderr.txt"
    results.write_text("", encoding="utf-8", newline="\n")
    temporary = work / "temporary"  # files of a killed process are removed with the rest
    temporary.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-P",
        "-m",
        "kras_plugins.testing.checks.worker",
        str(work / "request.json"),
        str(results),
    ]
    at = [request["target"], hooks.name, hooks.what, hooks.says]
    with errors.open("wb") as stderr, results.open(encoding="utf-8") as told:
        process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            began, came, seconds, expected = time.monotonic(), "", _START_SECONDS, "a process that lives on"
            while not came:
                code = process.poll()  # before the last look at its lines
                for line in _whole_lines(told):
                    yield line
                    at, began, seconds = line.get("begin", at), time.monotonic(), deadline
                    if "end" in line or "error" in line:
                        return
                if code is not None:
                    came = f"{ending(code)}{last_words(errors)}"
                elif time.monotonic() - began > seconds:
                    expected, came = "an answer", f"none: it was ended after {seconds:g} s"
                else:
                    time.sleep(_LOOK_SECONDS)
        finally:
            kill(process)
    subject, check, what, says = at
    facts = {"subject": subject, "check": check, "what": what, "status": "failed", "says": says}
    yield {"outcome": {**facts, "expected": expected, "came": came, "seconds": time.monotonic() - began}}
    yield {"lost": True}


def _whole_lines(file: Any) -> Iterator[dict[str, Any]]:
    """The lines that were written since the last call."""
    while True:
        at = file.tell()
        text = file.readline()
        if not text.endswith("\n"):
            file.seek(at)
            return
        yield json.loads(text)
