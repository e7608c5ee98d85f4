"""The work of a study that its engine may send to other machines: slides and the fits of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from kras_plugins.errors import ConfigError, KrasError

if TYPE_CHECKING:
    from kras_plugins.engines.dask_engine import Dask, Pool
    from kras_plugins.host.parts import Parts
    from kras_plugins.learning.fits import FitTask, Learners, RunFits
    from kras_plugins.learning.samples import Case
    from kras_plugins.pretraining.tiles import TileBench
    from kras_plugins.store import Store
    from kras_plugins.study.benches import Tell
    from kras_plugins.study.session import Session


class Elsewhere:
    """The workers on other machines while a session lasts; connected when they are first needed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._dask: Dask | None = None
        self._fits: Pool | None = None

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def slides(self, session: Session, parts: Parts, tell: Tell) -> Iterator[Pool]:
        """Workers that process slides with these parts."""
        from kras_plugins.study.benches import identity_of, mark, order_for, slide_bench

        dask = self._connected(session)
        mark(session.store)
        identity = identity_of(session.registry, session.store, parts)
        with dask.pool(slide_bench, order_for(session, parts), identity, needing=True, tell=tell) as pool:
            yield pool

    @contextmanager
    def tiles(self, session: Session, bench: TileBench) -> Iterator[Pool]:
        """Workers that find where slides have tiles; released at the end, as a training of days may follow."""
        from kras_plugins.study.benches import identity_of, mark, order_for, tile_bench

        mark(session.store)
        identity = identity_of(session.registry, session.store, readers=bench.readers)
        try:
            with self._connected(session).pool(tile_bench, order_for(session, tiles=bench), identity) as pool:
                yield pool
        finally:
            self._dask = self._fits = None
            self._stack.close()

    def fits(self, session: Session) -> Pool:
        """Workers that fit classifiers, each one at a time, until the session ends."""
        from kras_plugins.study.benches import fit_bench, identity_of, mark, order_for

        if self._fits is None:
            dask = self._connected(session)
            mark(session.store)
            identity = identity_of(session.registry, session.store)
            pool = dask.pool(fit_bench, order_for(session), identity, at_once=1)
            self._fits = self._stack.enter_context(pool)
        return self._fits

    def _connected(self, session: Session) -> Dask:
        if self._dask is None:
            try:
                from kras_plugins.engines.dask_engine import dask_engine
            except ImportError as e:
                raise ConfigError(f"--engine dask needs {e.name}", "pip install 'kras[dask]'") from e
            notify = session.notify
            self._dask = self._stack.enter_context(dask_engine(session.settings.dask, notify.note, notify.warn))
        return self._dask


def fits_of(session: Session, cases: Sequence[Case]) -> RunFits:
    """What makes the fits of a cross-validation of these patients: this process, or the workers of its engine."""
    from kras_plugins.learning.fits import one_by_one

    elsewhere = session.elsewhere
    if elsewhere is None:
        return one_by_one

    def run(learners: Learners, tasks: Sequence[FitTask], store: Store) -> Iterator[FitTask]:
        from kras_plugins.study.fit_tasks import cost_of, fitted, item_of, stored_samples

        pool = elsewhere.fits(session)
        samples = stored_samples(cases, session.store)
        items = [item_of(learners, task, samples, store) for task in tasks]
        with closing(pool.map(fitted, items, [cost_of(task) for task in tasks])) as outcomes:
            for i, outcome in outcomes:
                if isinstance(outcome, KrasError):
                    raise outcome
                yield tasks[i]

    return run
