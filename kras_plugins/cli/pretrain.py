"""`kras pretrain`: a self-supervised vision transformer from one's own slides and tiles."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides, PluginFiles, open_session
from kras_plugins.errors import ConfigError, KrasError

if TYPE_CHECKING:
    from kras_plugins.pretraining.dino import Report
    from kras_plugins.pretraining.recipe import Recipe

Data = Annotated[list[Path], typer.Argument(help="slides, tile images, or folders of them")]
Out = Annotated[Path, typer.Option("--out", help="weights to write, FILE.safetensors")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="TOML file of settings")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one setting of the recipe; VALUE is JSON")
]


@command
def pretrain(
    data: Data,
    out: Out,
    recipe: RecipeFile = None,
    settings: Settings = None,
    model: Annotated[str | None, typer.Option(help="vision transformer of timm [vit_small_patch16_224]")] = None,
    steps: Annotated[int | None, typer.Option(help="updates of the weights [50000]")] = None,
    batch: Annotated[int | None, typer.Option(help="samples per step over all processes [256]")] = None,
    seed: Annotated[int | None, typer.Option(help="of first weights and samples [0]")] = None,
    image_mpp: Annotated[float | None, typer.Option(help="µm per pixel of tile images [the recipe's mpp]")] = None,
    workers: Annotated[int, typer.Option(min=0, help="processes that make samples, for each one that learns")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each learning process, 0: torch's choice")] = 0,
    keep_every: Annotated[int, typer.Option(min=1, help="steps between checkpoints")] = 100,
    dtype: Annotated[Literal["f32", "f16"], typer.Option(help="how weights are written")] = "f32",
    licence: Annotated[str, typer.Option(help="licence of the weights, told to who uses them")] = "not stated",
    note: Annotated[str, typer.Option(help="what was trained on, in a few words, kept in the file")] = "",
    tensorboard: Annotated[Path | None, typer.Option(help="folder for TensorBoard")] = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on slides and tiles without labels (DINO); killed, the same command goes on where it was.

    On several GPUs: torchrun --nproc-per-node N -m kras_plugins.cli pretrain …
    """
    from kras_plugins.pretraining.needs import require_lightly
    from kras_plugins.pretraining.recipe import read_recipe

    require_lightly()
    import torch

    from kras_plugins.host.parts import usable_readers
    from kras_plugins.pretraining.dino import pretrain as train
    from kras_plugins.pretraining.network import build
    from kras_plugins.pretraining.processes import crew
    from kras_plugins.pretraining.tiles import survey
    from kras_plugins.pretraining.weights import describe, write_weights
    from kras_plugins.study.outputs import make_folder

    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: weights are written as safetensors", "name a file that ends in .safetensors")
    if out.exists():
        raise ConfigError(f"{out}: is there already", "delete it, or name another file")
    if image_mpp is not None and not 0 < image_mpp < math.inf:
        raise ConfigError(f"--image-mpp {image_mpp:g}: no resolution", "give µm per pixel, such as 0.5")
    made = read_recipe(recipe, settings or (), model=model, steps=steps, batch=batch, seed=seed)
    with torch.device("meta"):
        build(made)  # what cannot be built is told before slides are looked at
    make_folder(out.parent)
    session = open_session(config, option, plugin)
    readers = usable_readers(session.registry, session.config)
    if threads:
        torch.set_num_threads(threads)

    with crew() as here, ExitStack() as stack:

        def say(text: str) -> None:
            if here.rank == 0:
                stderr().print(text)

        def set_aside(file: Path, why: KrasError) -> None:
            say(f"[yellow]left out {escape(file.name)}:[/] {escape(str(why))}")

        corpus = stack.enter_context(
            survey(data, readers, px=made.px, mpp=made.mpp, image_mpp=image_mpp or made.mpp, set_aside=set_aside)
        )
        counts = corpus.counts()
        tell: Callable[[Report], None] = lambda _: None  # noqa: E731
        if here.rank == 0:
            say(f"{counts['tiles']} tiles of {counts['slides']} slides and {counts['images']} images")
            tell = stack.enter_context(_told(made, out.with_suffix(".log.jsonl"), tensorboard))
        kept = out.with_suffix(".checkpoint.safetensors")
        result = train(
            corpus, made, kept, here, workers=workers, keep_every=keep_every, tell=tell,
            resumed=lambda step: say(f"goes on from step {step}"),
        )  # fmt: skip
        if here.rank == 0:
            dim = int(result.teacher.backbone.num_features)
            facts = describe(made, dim, licence, {**counts, "note": note})
            write_weights(out, result.teacher, facts, dtype)
            kept.unlink()
    if here.rank:
        return
    stderr().print(
        f"{made.steps} steps in {result.seconds / 60:.1f} min; {100 * (1 - result.waiting):.1f} % of it the model was "
        "at work, the rest it waited for tiles" + (": more --workers may help" if result.waiting > 0.1 else "")
    )
    if as_json:
        print_json(
            {"file": str(out), "dim": dim, **counts, "seconds": result.seconds, "model_busy": 1 - result.waiting}
        )
    else:
        stdout().print(f"{out}: use it with --extractor vit -o extractor.vit.weights={out}", soft_wrap=True)


@contextmanager
def _told(recipe: Recipe, log: Path, board: Path | None) -> Iterator[Callable[[Report], None]]:
    """Where steps are told: a bar or lines on stderr, one JSON line each in `log`, TensorBoard where asked for."""
    from kras_plugins.cli.progress import steps as bar

    with ExitStack() as stack:
        bars = stack.enter_context(bar(recipe.steps, "pre-training"))
        task = bars.task_ids[0]
        lines = stack.enter_context(log.open("a", encoding="utf-8"))
        writer = _board(board) if board else None
        if writer is not None:
            stack.callback(writer.close)

        def tell(r: Report) -> None:
            scalars: dict[str, Any] = {
                "loss": r.loss, "tiles_per_s": r.tiles_per_s, "waiting": r.waiting, **asdict(r.settings),
                **(asdict(r.health) if r.health else {}),
            }  # fmt: skip
            lines.write(json.dumps({"step": r.step, **scalars}) + "\n")
            if writer is not None:
                for name, value in scalars.items():
                    writer.add_scalar(name, float(value), r.step)
            speed = f"{r.tiles_per_s:.0f} tiles/s, {100 * r.waiting:.0f} % waiting"
            bars.update(task, completed=r.step, description=f"loss {r.loss:.3f}, {speed}")
            if r.health is not None:
                lines.flush()
                if bars.disable:
                    stderr().print(
                        f"step {r.step}/{recipe.steps}, loss {r.loss:.3f}, rank {r.health.rank:.1f}, entropy "
                        f"{r.health.entropy:.2f}, spread {r.health.spread:.2f}, {speed}"
                    )

        yield tell


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise ConfigError("--tensorboard needs the package tensorboard", "pip install 'kras[pretrain]'") from e
    try:
        return SummaryWriter(str(folder))
    except OSError as e:
        raise ConfigError(f"--tensorboard {folder}: {e.strerror}", "name a folder") from e
