"""A pre-training that was killed ends with the same weights, bit for bit; several processes with the same as one."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from cohorts import command, environment, kras
from safetensors.torch import load_file
from typer.testing import CliRunner

from kras_plugins.cli.app import app
from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.pretraining.dino import Report, pretrain
from kras_plugins.pretraining.processes import Crew
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.tiles import survey
from kras_plugins.pretraining.weights import describe, write_weights

from .conftest import TINY, looking


def settings(**changed: object) -> list[str]:
    return [word for k, v in {**TINY, **changed}.items() for word in ("--set", f"{k}={json.dumps(v)}")]


@contextmanager
def one_thread() -> Iterator[None]:
    """As `--threads 1`: the number of threads orders sums, whatever OMP_NUM_THREADS says."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def trained(tiles: Path, folder: Path, **changed: object) -> Path:
    """The weights of a training in this process."""
    folder.mkdir(exist_ok=True)
    recipe = Recipe(**{**TINY, **changed})
    corpus = survey([tiles], looking(folder), image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
    alone = Crew(rank=0, size=1, device=torch.device("cpu"))
    result = pretrain(corpus, recipe, folder / "c.safetensors", alone, workers=0)
    facts = describe(recipe, 24, "not stated", {**corpus.counts(), "note": ""})
    write_weights(folder / "w.safetensors", result.teacher, facts, "f32")
    return folder / "w.safetensors"


@pytest.fixture(scope="module")
def straight(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a training that nobody disturbed."""
    return trained(tiles, tmp_path_factory.mktemp("straight"))


def test_a_killed_training_goes_on_to_the_same_bytes(tiles: Path, straight: Path, tmp_path: Path) -> None:
    words = ("pretrain", tiles, "--out", "w.safetensors", *settings(), "--threads", "1", "--keep-every", "1",
             "--workers", "1")  # fmt: skip
    kept = tmp_path / "w.checkpoint.safetensors"
    with subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(tmp_path / "store"), stderr=subprocess.DEVNULL
    ) as run:
        while not kept.exists() and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "w.safetensors").exists()
    resumed = kras(*words, cwd=tmp_path, store=tmp_path / "store")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumes from step" in resumed.stderr
    assert re.search(
        r"^pre-training, loss [\d.]+, rank [\d.]+, \d+ % waiting: (\d+) of \1", resumed.stderr, re.MULTILINE
    )
    assert "% of it the model was at work" in resumed.stderr
    assert (tmp_path / "w.safetensors").read_bytes() == straight.read_bytes()
    assert not kept.exists()


@one_thread()
def test_what_the_student_drops_is_the_same_after_a_stop_and_the_teacher_drops_nothing(
    tiles: Path, tmp_path: Path
) -> None:
    dropping = {**TINY["arguments"], "drop_path_rate": 0.5, "proj_drop_rate": 0.2}
    recipe = Recipe(**{**TINY, "arguments": dropping})
    corpus = survey([tiles], looking(tmp_path), image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
    alone = Crew(rank=0, size=1, device=torch.device("cpu"))

    def stop(report: Report) -> None:
        if report.step == 4:
            raise KeyboardInterrupt

    straight = pretrain(corpus, recipe, tmp_path / "a", alone, workers=0)
    with pytest.raises(KeyboardInterrupt):
        pretrain(corpus, recipe, tmp_path / "b", alone, workers=0, keep_every=1, tell=stop)
    torch.rand(7)  # whatever else draws in this process
    resumed = pretrain(corpus, recipe, tmp_path / "b", alone, workers=0, keep_every=1)
    assert not straight.teacher.training
    other = resumed.teacher.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in straight.teacher.state_dict().items())


def test_a_stopped_training_ends_its_workers_at_once(tiles: Path, tmp_path: Path) -> None:
    """Not only once nobody looks at the exception any more."""
    corpus = survey([tiles], looking(tmp_path), image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
    alone = Crew(rank=0, size=1, device=torch.device("cpu"))
    before, during = set(active_children()), []

    def stop(report: Report) -> None:
        during.extend(set(active_children()) - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        pretrain(corpus, Recipe(**TINY), tmp_path / "c", alone, workers=1, tell=stop)
    assert len(during) == 1 and not during[0].is_alive(), stopped


class AnotherHasACheckpoint(Crew):
    """One of two processes; the other one resumes from a checkpoint that is not seen here."""

    def any(self, flag: bool) -> bool:
        """As reported by the other."""
        return True


def test_a_checkpoint_that_only_some_machines_see_is_told(tiles: Path, tmp_path: Path) -> None:
    corpus = survey([tiles], looking(tmp_path), image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
    here = AnotherHasACheckpoint(rank=0, size=1, device=torch.device("cpu"))
    with pytest.raises(ConfigError, match="another process resumes from it"):
        pretrain(corpus, Recipe(**TINY), tmp_path / "c", here, workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_why_samples_are_no_more_is_told_as_it_was_said(tiles: Path, tmp_path: Path, workers: int) -> None:
    """Also from a worker process, whose exceptions torch would turn into one long text."""
    for file in tiles.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    corpus = survey([tmp_path], looking(tmp_path), image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
    for file in tmp_path.iterdir():
        file.write_bytes(b"the disk is gone")
    alone = Crew(rank=0, size=1, device=torch.device("cpu"))
    with pytest.raises(SlideError) as e:
        pretrain(corpus, Recipe(**TINY), tmp_path / "c", alone, workers=workers)
    assert "cannot be read" in e.value.message and "\n" not in e.value.message
    assert e.value.hint == "replace or remove the image"


@pytest.mark.long
def test_two_processes_learn_what_one_learns(tiles: Path, straight: Path, tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port), "-m",
             "kras_plugins.cli", "pretrain", str(tiles), "--out", "w.safetensors", *settings(), "--workers", "0",
             "--threads", "1"]  # fmt: skip
    ran = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True,
                         text=True, timeout=1800)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert_alike(tmp_path / "w.safetensors", straight)


def test_a_batch_in_parts_teaches_the_same(tiles: Path, straight: Path, tmp_path: Path) -> None:
    assert_alike(trained(tiles, tmp_path, accumulate=4), straight)
    with pytest.raises(AssertionError):
        assert_alike(trained(tiles, tmp_path / "other", batch=4), straight)


def assert_alike(file: Path, other: Path) -> None:
    """Equal but for the rounding of sums in another order."""
    one, two = load_file(file), load_file(other)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=0, atol=2e-5, msg=name)


def test_a_checkpoint_of_other_tiles_or_settings_is_refused(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path, steps=1)
    with pytest.raises(ConfigError, match=r"another recipe: lr 0.001, now 0.002"):
        trained(tiles, tmp_path, steps=1, lr=2e-3)
    (tmp_path / "fewer").mkdir()
    for f in sorted(tiles.iterdir())[:3]:
        (tmp_path / "fewer" / f.name).write_bytes(f.read_bytes())
    with pytest.raises(ConfigError, match="another corpus"):
        trained(tmp_path / "fewer", tmp_path, steps=1)
    (tmp_path / "c.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        trained(tiles, tmp_path, steps=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image-mpp", "0"), "--image-mpp 0"),
        (("--image-mpp", "-1"), "--image-mpp -1"),
        (("--set", "local_px=20"), "local_px=20"),
        (("--out", "file/w.safetensors"), "cannot make the folder"),
    ],
)
def test_what_cannot_be_meant_is_told_before_a_tile_is_looked_at(
    words: tuple[str, str], said: str, tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["pretrain", str(tiles), "--out", "w.safetensors", *settings(steps=1), *words])
    assert done.exit_code == 1
    assert said in done.stderr
    assert "error:" in done.stderr and "tiles of" not in done.stderr
