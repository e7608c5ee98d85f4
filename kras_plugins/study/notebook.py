"""Progress bars in a notebook or a terminal: a Notify for those who call a study from Python."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.errors import KrasError
    from kras_plugins.study.notify import Notify


def bars() -> Notify:
    """Bars for slides and for fits, with notes and warnings between them. Raises ConfigError without `kras[notebook]`.

    Example:
        >>> from kras_plugins import study
        >>> told = study.bars()
        >>> told.note("bars speak on stderr, or below the cell")
    """
    try:
        import tqdm.auto  # noqa: F401
    except ImportError as e:
        raise ConfigError("progress bars need tqdm", "pip install 'kras[notebook]'") from e
    return _Bars()


class _Bars:
    """One bar for all slides and one for each stage of known length, which is removed when the stage is done."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[str, Any] = {}

    def begin(self, slides: int) -> None:
        self._move("slides", 0, slides)

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        with self._lock:
            if "slides" in self._open:
                self._open["slides"].set_postfix_str(f"{stage} {slide_id}: {done} of {total} tiles", refresh=False)

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        with self._lock:
            bar = self._open.get("slides")
            if bar is not None:
                self._move("slides", bar.n + 1, bar.total)
        if failure is not None:
            self.warn(f"set aside {slide_id}: {failure}")

    def step(self, what: str, done: int, total: int) -> None:
        self._move(what.split(" ")[0], done, total)

    def note(self, text: str) -> None:
        self._write(f"note: {text}")

    def warn(self, text: str, trace: str = "") -> None:
        self._write(f"warning: {text}")

    def _move(self, what: str, done: int, total: int) -> None:
        from tqdm.auto import tqdm

        with self._lock:
            if what not in self._open:
                self._open[what] = tqdm(total=total, desc=what)
            bar = self._open[what]
            bar.update(done - bar.n)
            if done >= total:
                self._open.pop(what).close()

    def _write(self, text: str) -> None:
        from tqdm.auto import tqdm

        with self._lock:
            tqdm.write(text, file=sys.stderr)
