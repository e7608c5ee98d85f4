"""One warmed process for each kind, which forks for each case: a case can take its process down, and nothing else.

Nothing is computed in the process that forks, so that no library has threads in it. A case may take 60 seconds of CPU
time and, beyond what its process has, the kind's bytes of memory: of private pages (RLIMIT_DATA), as torch and OpenVINO
reserve far more addresses than they use.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must
from kras_plugins.errors import KrasError, PluginError

CPU_SECONDS, WALL_SECONDS = 60, 600
"""What a case that still computes is called a hang after; one that waits, after much longer: machines are shared."""
FINE = ("refused", "same", "expected", "undetectable")
FAULTS = ("silent", "unclear", "blamed", "traceback", "hang", "signal", "memory", "campaign")
_LONGEST = 1500


@dataclass(frozen=True)
class Outcome:
    """What came of one case: one of FINE or FAULTS; `told`: the error, or what differs."""

    kind: str
    case: int
    what: str
    payload: bool
    outcome: str
    told: str = ""


def campaign(kind: Kind, cases: Sequence[int], seed: int, scratch: Path) -> Iterator[Outcome]:
    """Try some cases of a kind, each in a process of its own; RuntimeError where the sound input is refused."""
    for module in kind.warm:
        import_module(module)
    (scratch / "sound").mkdir(parents=True)
    _sound(forked(lambda: kind.make(scratch / "sound"), kind.memory * 4), kind, "be made")
    shutil.copytree(scratch / "sound", scratch / "read")  # what reading leaves there must not be in the cases' input
    sound = _sound(forked(lambda: _read(kind, scratch, scratch / "read"), kind.memory), kind, "be read")
    if os.name == "posix" and len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError(f"{kind.name}: the process that forks has threads")
    for case in cases:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            trial = _Trial(kind, case, seed, sound, scratch, Path(folder))
            ended = forked(trial.run, kind.memory)
            what = (Path(folder) / "what").read_text() if (Path(folder) / "what").exists() else "?"
            if ended.value is not None:
                yield Outcome(**ended.value)
            else:
                yield Outcome(kind.name, case, what, False, ended.fault, ended.told)


@dataclass(frozen=True)
class _Trial:
    kind: Kind
    case: int
    seed: int
    sound: Any
    scratch: Path
    folder: Path

    def run(self) -> dict[str, Any]:
        """The outcome of the case, in a process of its own."""
        shutil.copytree(self.scratch / "sound", self.folder / "input")
        rng = random.Random(f"{self.seed}:{self.kind.name}:{self.case}")
        try:
            change = self.kind.change(self.folder / "input", rng, self.sound)
        except Exception:  # noqa: BLE001 - a fault of the campaign, told as such
            return asdict(Outcome(self.kind.name, self.case, "?", False, "campaign", traceback.format_exc()))
        (self.folder / "what").write_text(change.what, encoding="utf-8", errors="replace")
        outcome, told = self._tried(change)
        payload = change.must is Must.ANYTHING
        return asdict(Outcome(self.kind.name, self.case, change.what, payload, outcome, told))

    def _tried(self, change: Change) -> tuple[str, str]:
        try:
            got = _read(self.kind, self.folder, self.folder / "input")
        except KrasError as e:
            return _refused(e, self.kind)
        except MemoryError:
            return "memory", traceback.format_exc()
        except BaseException:  # noqa: BLE001 - a SystemExit too: no input may end a program
            return "traceback", traceback.format_exc()
        if alike(got, self.sound) and (change.must in (Must.SAME, Must.ANYTHING) or alike(change.must, self.sound)):
            return "same", ""
        if change.must is Must.ANYTHING:
            return "undetectable", ""
        if not isinstance(change.must, Must) and alike(got, change.must):
            return "expected", ""
        must = self.sound if change.must is Must.SAME else change.must
        return "silent", f"must be {str(must)[:600]}\nbut was {str(got)[:600]}\n{difference(must, got)}"


def _refused(error: KrasError, kind: Kind) -> tuple[str, str]:
    """Whether an error says which file, why and what to do, and blames nobody who is not to blame."""
    told = f"{error.message} | {error.hint}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "memory", told
        cause = cause.__cause__ or cause.__context__
    named = any(name in error.message for name in kind.named)
    if "fault of the plug-in" in told or (isinstance(error, PluginError) and not named):
        return "blamed", f"{told}\n{traceback.format_exc()}"
    if not (named and error.hint.strip() and told.isprintable() and len(told) < _LONGEST):
        return "unclear", told
    return "refused", told


def _read(kind: Kind, store: Path, folder: Path) -> Any:
    os.environ["KRAS_CACHE"] = str(store / "store")
    os.chdir(folder)
    return json.loads(json.dumps(kind.read(folder)))


def alike(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same, numbers up to rounding, and NaN is NaN."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return (math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and bool(a == b)


def difference(a: Any, b: Any, path: str = "") -> str:
    """Where two JSON values first differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{path}: keys {sorted(a.keys() ^ b.keys())[:6]}"
        return next((difference(a[k], b[k], f"{path}.{k}") for k in a if not alike(a[k], b[k])), "")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return next((difference(a[i], b[i], f"{path}[{i}]") for i in range(len(a)) if not alike(a[i], b[i])), "")
    return f"{path}: {str(a)[:200]} against {str(b)[:200]}"


@dataclass(frozen=True)
class Ended:
    """How a forked process ended: with a `value`, or with a `fault` and what it `told`."""

    value: Any = None
    fault: str = ""
    told: str = ""


def forked(function: Callable[[], Any], memory: int) -> Ended:
    """`function()`, which gives a JSON value, in a copy of this process with limits."""
    with tempfile.TemporaryFile() as noise:
        mine, its = os.pipe()
        pid = os.fork()
        if pid == 0:
            _child(function, memory, its, noise.fileno())
        os.close(its)
        text = _gathered(mine, pid)
        _, status = os.waitpid(pid, 0)
        noise.seek(0)
        said = noise.read()[-3000:].decode("utf-8", "replace")
    if text is None:
        return Ended(fault="hang", told=f"no end after {WALL_SECONDS} s\n{said}")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = number in (signal.SIGXCPU, signal.SIGKILL)
        return Ended(fault="hang" if late else "signal", told=f"{signal.Signals(number).name}\n{said}")
    if not text:
        return Ended(fault="traceback", told=f"ended with {os.waitstatus_to_exitcode(status)}\n{said}")
    return Ended(value=json.loads(text)["value"]) if text.startswith(b"{") else Ended(fault="traceback", told=said)


def die_with_parent() -> None:
    """Have Linux end this process when the one that made it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _child(function: Callable[[], Any], memory: int, out: int, noise: int) -> None:
    """What the forked process does; it never comes back."""
    try:
        os.setsid()
        die_with_parent()
        for stream in (1, 2):
            os.dup2(noise, stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (_data() + memory, resource.RLIM_INFINITY))
        text = json.dumps({"value": function()}).encode()
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for at in range(0, len(text), 1 << 16):
            os.write(out, text[at : at + (1 << 16)])
    except BaseException:  # noqa: BLE001 - nothing may come back from here
        os.write(2, traceback.format_exc().encode())
    finally:
        sys.stdout.flush()
        os._exit(0)


def _data() -> int:
    """Bytes of private pages of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def _gathered(pipe: int, pid: int) -> bytes | None:
    """What a process writes until it ends; None where it does not, and was killed with all that it started."""
    found, end, ended = b"", time.monotonic() + WALL_SECONDS, False
    try:
        while time.monotonic() < end:
            if select.select([pipe], [], [], 0 if ended else 1.0)[0]:
                some = os.read(pipe, 1 << 16)
                found += some
                if not some:
                    return found
            elif ended:  # what it started still has the pipe
                return found
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return None
    finally:
        os.close(pipe)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _sound(ended: Ended, kind: Kind, what: str) -> Any:
    if ended.fault:
        raise RuntimeError(f"{kind.name}: the sound input cannot {what}: {ended.fault}\n{ended.told}")
    return ended.value
