"""The training itself: DINO on a corpus, resumed from a checkpoint if there is one, monitored, its speed measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.pretraining import checkpoint
from kras_plugins.pretraining.checkpoint import Training
from kras_plugins.pretraining.monitor import Health, Watch, collapsed, examine
from kras_plugins.pretraining.network import Network, StepLoss, build, follow
from kras_plugins.pretraining.processes import Crew
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.schedules import StepSettings, settings_at
from kras_plugins.pretraining.tiles import Corpus
from kras_plugins.pretraining.views import Batches, Views, collate


@dataclass(frozen=True, kw_only=True)
class Report:
    """One step. `health` is None between checks; `tiles_per_s` and `waiting` (share of the time in which the model
    had no data) are measured since this process began, without its first step."""

    step: int
    loss: float
    settings: StepSettings
    health: Health | None
    tiles_per_s: float
    waiting: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """The trained teacher and, over the lifetimes of all processes, the seconds it took and the share spent waiting."""

    teacher: Network
    seconds: float
    waiting: float


def pretrain(
    corpus: Corpus,
    recipe: Recipe,
    file: Path,
    crew: Crew,
    *,
    workers: int,
    keep_every: int = 100,
    watch_every: int = 20,
    tell: Callable[[Report], None] = lambda _report: None,
    resumed: Callable[[int], None] = lambda _step: None,
) -> Result:
    """Train for the recipe's steps; `file` is the checkpoint, written every `keep_every` steps.

    If killed and started again with the same arguments and threads on one machine, the result is the same bit for bit.
    Raises BackendError if the features collapse, ConfigError if the checkpoint belongs to something else or only some
    processes find it.
    """
    if recipe.batch % (crew.size * recipe.accumulate):
        raise ConfigError(
            f"a batch of {recipe.batch} cannot be shared evenly by {crew.size} processes in {recipe.accumulate} parts",
            "choose a batch that can",
        )
    training = _begin(recipe, crew.device)
    same = checkpoint.facts(recipe, corpus.digest)
    progress: dict[str, float] = {"step": 0, "seconds": 0.0, "waited": 0.0, "bad": 0}
    if file.is_file():
        progress = checkpoint.read(file, training, same)
        resumed(int(progress["step"]))
    first = int(progress["step"])
    if crew.any(first > 0) and not first:
        raise ConfigError(
            f"{file}: is not here, but another process resumes from it", "give --out on a disk that all machines see"
        )
    watch = Watch(round(recipe.warmup * recipe.steps), int(progress["bad"]), recipe.batch // crew.size)
    student: Any = training.student
    if crew.size > 1:
        student = DistributedDataParallel(training.student)
    clock = _Clock()
    with closing(_loader(corpus, recipe, first, crew, workers)) as loaded:  # ends the workers, however this ends
        parts = clock.timed(loaded)
        for step in range(first, recipe.steps):
            settings = settings_at(recipe, step)
            with _seeded(recipe, step, crew):
                value, seen = _step(training, student, recipe, settings, parts, crew)
            if step == first:
                clock.start()  # what comes before, the first samples and compilation, happens only once
            due = (step + 1) % watch_every == 0 or step + 1 == recipe.steps
            health = examine(*seen, training.loss.center[0], settings.temperature) if due else None
            if due and health is not None:
                why = watch.sees(step, value, health)
                if crew.any(bool(why)):
                    raise collapsed(step, why or "another process found a collapse")
            tell(
                Report(
                    step=step + 1,
                    loss=value,
                    settings=settings,
                    health=health,
                    tiles_per_s=recipe.batch * (step - first) / clock.seconds if step > first else 0.0,
                    waiting=clock.waiting,
                )
            )
            if (step + 1) % keep_every == 0 or step + 1 == recipe.steps:
                now = {
                    "step": step + 1,
                    "seconds": progress["seconds"] + clock.seconds,
                    "waited": progress["waited"] + clock.waited,
                    "bad": watch.bad,
                }
                if crew.rank == 0:
                    checkpoint.write(file, training, same, now)
                crew.meet()
    seconds, waited = progress["seconds"] + clock.seconds, progress["waited"] + clock.waited
    return Result(teacher=training.teacher, seconds=seconds, waiting=waited / seconds if seconds else 0.0)


def _begin(recipe: Recipe, device: torch.device) -> Training:
    """Student and teacher with equal weights; biases, norms and other vectors do not decay."""
    student, teacher = build(recipe).to(device), build(recipe).to(device)
    teacher.requires_grad_(False).eval()  # without dropout
    weights = [p for p in student.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "decays": True},
        {"params": [p for p in weights if p.ndim <= 1], "decays": False, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    return Training(student=student, teacher=teacher, loss=StepLoss(recipe).to(device), optimizer=optimizer)


def _loader(corpus: Corpus, recipe: Recipe, first: int, crew: Crew, workers: int) -> Generator[list[Tensor]]:
    loader: DataLoader[Any] = DataLoader(
        Views(corpus, recipe),
        batch_sampler=Batches(recipe=recipe, first=first, rank=crew.rank, processes=crew.size),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=crew.device.type == "cuda",
        generator=torch.Generator(),  # the seed it draws at its start must not change the first step's random numbers
    )
    for part in loader:
        if isinstance(part, KrasError):
            raise part
        yield part


def _step(
    training: Training, student: Any, recipe: Recipe, settings: StepSettings, parts: Iterator[list[Tensor]], crew: Crew
) -> tuple[float, tuple[Tensor, Tensor]]:
    """One update of the weights: its loss, and the teacher's class tokens and outputs for this process' views."""
    for group in training.optimizer.param_groups:
        group["lr"] = settings.lr
        group["weight_decay"] = settings.weight_decay if group["decays"] else 0.0
    training.optimizer.zero_grad(set_to_none=True)
    total, seen = 0.0, []
    for i in range(recipe.accumulate):
        views = [v.to(crew.device, non_blocking=True) for v in next(parts)]
        wait = crew.size > 1 and i + 1 < recipe.accumulate
        with student.no_sync() if wait else nullcontext():
            with torch.autocast(crew.device.type, torch.bfloat16, enabled=uses_bf16(recipe, crew.device)):
                with torch.no_grad():
                    tokens, wanted = training.teacher(views[:2])
                _, given = student(views)
            loss = training.loss(
                [w.float() for w in wanted], [g.float() for g in given], teacher_temp=settings.temperature
            )
            torch.autograd.backward(loss / recipe.accumulate)
        total += float(loss.detach()) / recipe.accumulate
        seen.append((torch.cat(tokens), torch.cat(wanted)))
    training.loss.end_step()
    torch.nn.utils.clip_grad_norm_(training.student.parameters(), recipe.clip)
    if settings.last_layer_frozen:
        for p in training.student.head.last_layer.parameters():  # type: ignore[union-attr]
            p.grad = None
    training.optimizer.step()
    follow(training.teacher, training.student, settings.momentum)
    return total, (torch.cat([t for t, _ in seen]), torch.cat([w for _, w in seen]))


@contextmanager
def _seeded(recipe: Recipe, step: int, crew: Crew) -> Iterator[None]:
    """The student's dropout, where `arguments` ask for it, depends on seed, step and process alone."""
    with torch.random.fork_rng([crew.device] if crew.device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([recipe.seed, step, crew.rank]).generate_state(1)[0]))
        yield


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether bf16 is asked for, or left open and fast on this device."""
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Clock:
    """Time since `start`, and how much of it was spent waiting for samples."""

    def __init__(self) -> None:
        self.waited, self._began = 0.0, time.perf_counter()

    def start(self) -> None:
        """Begin to measure."""
        self.waited, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._began

    @property
    def waiting(self) -> float:
        """Share of the time."""
        return self.waited / max(self.seconds, 1e-9)

    def timed(self, parts: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Yield the parts, and add up how long each took to arrive."""
        while True:
            asked = time.perf_counter()
            part = next(parts, None)
            self.waited += time.perf_counter() - asked
            if part is None:
                return
            yield part
