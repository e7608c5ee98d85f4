"""One pre-training from files to weights, in one process or several; only the first of them reports and writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import torch

from kras_plugins.data import TileSpec
from kras_plugins.engines.engine import Engine
from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.pretraining.dino import Report, pretrain
from kras_plugins.pretraining.log import step_log
from kras_plugins.pretraining.network import build
from kras_plugins.pretraining.processes import Crew, crew
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.tiles import Corpus, Readers, TileBench, survey
from kras_plugins.pretraining.weights import describe, write_weights
from kras_plugins.store import Store

OpenEngine: TypeAlias = "Callable[[TileBench], AbstractContextManager[Engine[TileBench]]]"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to learn from, and where the weights go. The recipe decides the result; of the rest, `image_mpp` does too.

    `image_mpp`: µm per pixel of tile images, the recipe's where None. `threads`: 0 leaves them to torch. `dtype`,
    `licence` and `note` say how the weights are written. Raises ConfigError for invalid values.
    """

    data: Sequence[Path]
    out: Path
    recipe: Recipe
    image_mpp: float | None = None
    workers: int = 2
    threads: int = 0
    keep_every: int = 100
    dtype: Literal["f32", "f16"] = "f32"
    licence: str = "not stated"
    note: str = ""
    tensorboard: Path | None = None

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(
                f"--out {self.out}: weights are written as safetensors", "name a file that ends in .safetensors"
            )
        if self.out.exists():
            raise ConfigError(f"{self.out}: already exists", "delete it, or name another file")
        if self.image_mpp is not None and not 0 < self.image_mpp < math.inf:
            raise ConfigError(f"--image-mpp {self.image_mpp:g}: not a resolution", "give µm per pixel, such as 0.5")
        with torch.device("meta"):
            build(self.recipe)  # what cannot be built is reported before slides are looked at


class Listener(Protocol):
    """Receives reports of progress."""

    def say(self, text: str) -> None:
        """A message for the user."""

    def left_out(self, file: Path, why: KrasError) -> None:
        """A file that cannot be used."""

    def looked(self, done: int, total: int) -> None:
        """`done` of `total` files were searched for tiles."""

    def step(self, report: Report) -> None:
        """A step is done."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made: width of a feature vector, counts of the training data, seconds, and share of time waiting."""

    dim: int
    counts: dict[str, int]
    seconds: float
    waiting: float


def run_job(
    job: Job, readers: Readers, store: Store, listener: Listener, engine: OpenEngine | None = None
) -> Made | None:
    """Train and write the weights; None in all processes but the first.

    If killed and started again, it resumes from its checkpoint, which is beside `out` with the log of steps. `engine`
    opens the engine whose benches find the tiles of slides, for as long as they do; this process where None.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    bench = TileBench(readers=readers, spec=TileSpec(px=job.recipe.px, mpp=job.recipe.mpp), store=store)
    with crew() as here, ExitStack() as stack:
        first = here.rank == 0

        def resumed(step: int) -> None:
            if first:
                listener.say(f"resumes from step {step}")

        corpus = stack.enter_context(_surveyed(job, bench, here, listener, engine))
        counts = corpus.counts()
        tell: Callable[[Report], None] = lambda _: None  # noqa: E731
        if first:
            listener.say(f"{counts['tiles']} tiles of {counts['slides']} slides and {counts['images']} images")
            tell = _both(stack.enter_context(step_log(job.out.with_suffix(".log.jsonl"), job.tensorboard)), listener)
        kept = job.out.with_suffix(".checkpoint.safetensors")
        result = pretrain(
            corpus, job.recipe, kept, here, workers=job.workers, keep_every=job.keep_every, tell=tell, resumed=resumed
        )
        if not first:
            return None
        dim = int(result.teacher.backbone.num_features)
        facts: dict[str, Any] = describe(job.recipe, dim, job.licence, {**counts, "note": job.note})
        write_weights(job.out, result.teacher, facts, job.dtype)
        kept.unlink()
        return Made(dim=dim, counts=counts, seconds=result.seconds, waiting=result.waiting)


def _surveyed(job: Job, bench: TileBench, here: Crew, listener: Listener, engine: OpenEngine | None) -> Corpus:
    """All tiles, found by the first process or its engine; the others wait for it and find them in the store."""
    image_mpp = job.image_mpp or job.recipe.mpp
    if here.rank:
        here.meet()
        return survey(job.data, bench, image_mpp=image_mpp, set_aside=lambda *_: None)
    with nullcontext() if engine is None else engine(bench) as opened:
        corpus = survey(
            job.data,
            bench,
            image_mpp=image_mpp,
            set_aside=listener.left_out,
            engine=opened,
            looked=listener.looked,
        )
    here.meet()
    return corpus


def _both(keep: Callable[[Report], None], listener: Listener) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        keep(report)
        listener.step(report)

    return tell
