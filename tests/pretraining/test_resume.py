"""A pre-training that was killed ends with the same weights, bit for bit; several processes with the same as one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from cohorts import command, environment, kras
from safetensors.torch import load_file

from kras_plugins.errors import ConfigError
from kras_plugins.pretraining.engine import pretrain
from kras_plugins.pretraining.processes import Crew
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.tiles import survey
from kras_plugins.pretraining.weights import describe, write_weights

from .conftest import TINY


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
    corpus = survey([tiles], [], px=32, mpp=0.5, image_mpp=0.5, set_aside=lambda f, e: pytest.fail(str(e)))
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
    assert "goes on from step" in resumed.stderr
    assert "% of it the model was at work" in resumed.stderr
    assert (tmp_path / "w.safetensors").read_bytes() == straight.read_bytes()
    assert not kept.exists()


def test_two_processes_learn_what_one_learns(tiles: Path, straight: Path, tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port), "-m",
             "kras_plugins.cli", "pretrain", str(tiles), "--out", "w.safetensors", *settings(), "--workers", "0",
             "--threads", "1"]  # fmt: skip
    ran = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True,
                         text=True, timeout=300)  # fmt: skip
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
