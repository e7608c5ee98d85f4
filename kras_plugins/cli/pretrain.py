"""`kras pretrain`: a self-supervised vision transformer from your own slides and tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, EngineName, Plugins
from kras_plugins.errors import KrasError

if TYPE_CHECKING:
    from kras_plugins.pretraining.dino import Report
    from kras_plugins.study.notify import Notify


@dataclass(frozen=True)
class Learning:
    """What decides the result: a recipe, and settings that override it."""

    recipe: Annotated[Path | None, typer.Option("--recipe", help="TOML file of settings")] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one setting of the recipe; VALUE is JSON")
    ] = None
    model: Annotated[str | None, typer.Option(help="vision transformer of timm [default: vit_small_patch16_224]")] = (
        None
    )
    steps: Annotated[int | None, typer.Option(help="updates of the weights [default: 50000]")] = None
    batch: Annotated[int | None, typer.Option(help="samples per step over all processes [default: 256]")] = None
    seed: Annotated[int | None, typer.Option(help="seed of initial weights and samples [default: 0]")] = None
    image_mpp: Annotated[float | None, typer.Option(help="µm per pixel of tile images [default: the recipe's mpp]")] = (
        None
    )


@dataclass(frozen=True)
class Working:
    """How fast it goes, and what is kept."""

    workers: Annotated[int, typer.Option(min=0, help="processes that prepare samples, for each training process")] = 2
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each training process; 0: torch's choice")] = 0
    keep_every: Annotated[int, typer.Option(min=1, help="steps between checkpoints")] = 100
    dtype: Annotated[Literal["f32", "f16"], typer.Option(help="how weights are written")] = "f32"
    licence: Annotated[str, typer.Option("--license", help="license of the weights, shown to their users")] = (
        "not stated"
    )
    note: Annotated[
        str, typer.Option(metavar="WORDS", help="what it was trained on, in a few words, stored in the file")
    ] = ""
    tensorboard: Annotated[Path | None, typer.Option(help="folder for TensorBoard")] = None


@command
def pretrain(
    data: Annotated[list[Path], typer.Argument(help="slides, tile images, or folders of them")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="weights to write, FILE.safetensors")],
    learning: Learning = Learning(),
    working: Working = Working(),
    plugins: Plugins = Plugins(),
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on slides and tiles without labels.

    Uses DINO. After an interruption, the same command continues where it stopped. On several GPUs:
    torchrun --nproc-per-node N -m kras_plugins.cli pretrain …
    """
    from kras_plugins.cli.progress import progress
    from kras_plugins.host.parts import usable_readers
    from kras_plugins.pretraining.needs import require_lightly
    from kras_plugins.pretraining.recipe import read_recipe
    from kras_plugins.study.outputs import make_folder

    require_lightly()
    from kras_plugins.pretraining.job import Job, run_job

    recipe = read_recipe(
        learning.recipe, learning.settings or (),
        model=learning.model, steps=learning.steps, batch=learning.batch, seed=learning.seed,
    )  # fmt: skip
    job = Job(data=data, out=out, recipe=recipe, image_mpp=learning.image_mpp, **vars(working))
    make_folder(out.parent)
    with progress() as notify:
        session = plugins.session(notify, engine=engine)
        readers, elsewhere = usable_readers(session.registry, session.config), session.elsewhere
        look = None if elsewhere is None else partial(elsewhere.tiles, session)
        made = run_job(job, readers, session.store, _Told(notify, recipe.steps), look)
    if made is None:
        return
    stderr().print(
        f"{recipe.steps} steps in {made.seconds / 60:.1f} min; {100 * (1 - made.waiting):.1f} % of it the model was "
        "at work, the rest it waited for tiles" + (": more --workers may help" if made.waiting > 0.1 else "")
    )
    if as_json:
        busy = 1 - made.waiting
        print_json({"file": str(out), "dim": made.dim, **made.counts, "seconds": made.seconds, "model_busy": busy})
    else:
        stdout().print(f"{out}: use it with --extractor vit -o extractor.vit.weights={out}", soft_wrap=True)


@dataclass
class _Told:
    """A job's listener that reports to a Notify."""

    notify: Notify
    steps: int
    rank: str = ""

    def say(self, text: str) -> None:
        stderr().print(text)

    def left_out(self, file: Path, why: KrasError) -> None:
        self.notify.warn(f"left out {file.name}: {why}")

    def looked(self, done: int, total: int) -> None:
        self.notify.step("files looked at", done, total)

    def step(self, report: Report) -> None:
        if report.health is not None:
            self.rank = f", rank {report.health.rank:.1f}"
        what = f"pre-training, loss {report.loss:.3f}{self.rank}, {100 * report.waiting:.0f} % waiting"
        self.notify.step(what, report.step, self.steps)
