"""Schedules, samples, tiles and monitors, each against what can be computed by hand."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kras_plugins.errors import BackendError, ConfigError, SlideError
from kras_plugins.host.config import Config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import usable_readers
from kras_plugins.pretraining.dino import Report, pretrain
from kras_plugins.pretraining.monitor import Health, Watch, effective_rank, examine
from kras_plugins.pretraining.network import Network, StepLoss, build
from kras_plugins.pretraining.processes import Crew
from kras_plugins.pretraining.recipe import Recipe, read_recipe
from kras_plugins.pretraining.schedules import settings_at
from kras_plugins.pretraining.stain import another_laboratory, restain
from kras_plugins.pretraining.tiles import Corpus, survey
from kras_plugins.pretraining.views import Batches, Views

from .conftest import TINY, looking

ALONE = Crew(rank=0, size=1, device=torch.device("cpu"))


def corpus_of(*places: Path, mpp: float = 0.5, store: Path = Path("none")) -> Corpus:
    bench = looking(store, usable_readers(discover(), Config()))
    return survey(places, bench, image_mpp=mpp, set_aside=lambda f, e: pytest.fail(str(e)))


def test_schedules_are_those_of_dino() -> None:
    recipe = Recipe(steps=101, warmup=0.1, lr=1.0, lr_end=0.0, weight_decay=(0.04, 0.4), momentum=(0.9, 1.0),
                    teacher_temperature=(0.04, 0.07), frozen=0.05)  # fmt: skip
    at = [settings_at(recipe, s) for s in range(101)]
    assert [a.lr for a in at[:10]] == pytest.approx(np.arange(1, 11) / 10)
    assert at[10].lr == 1.0
    assert at[55].lr == pytest.approx(0.5)
    assert at[100].lr == 0.0
    assert at[0].weight_decay == pytest.approx(0.04)
    assert at[50].weight_decay == pytest.approx(0.22)
    assert at[100].weight_decay == pytest.approx(0.4)
    assert at[25].momentum == pytest.approx(1 - 0.1 * (1 + math.cos(math.pi / 4)) / 2)
    assert at[5].temperature == pytest.approx(0.055)
    assert [a.temperature for a in at[10:]] == pytest.approx([0.07] * 91)
    assert [a.last_layer_frozen for a in at].index(False) == 5


def test_a_sample_depends_on_seed_step_and_number_alone_and_leaves_chance_as_it_was(tiles: Path) -> None:
    corpus = corpus_of(tiles)
    views = Views(corpus, Recipe(**TINY))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = views[11]
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    views[3], torch.rand(4), np.random.rand(4)
    again = Views(corpus, Recipe(**TINY))[11]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert [v.shape for v in one] == [(3, 32, 32)] * 2 + [(3, 16, 16)] * 2
    for other in (views[12], Views(corpus, Recipe(**{**TINY, "seed": 1}))[11]):
        assert not torch.equal(one[0], other[0])


@given(processes=st.sampled_from([1, 2, 4]), accumulate=st.sampled_from([1, 2, 3]), first=st.integers(0, 2))
def test_the_samples_of_a_step_are_the_same_however_they_are_shared(
    processes: int, accumulate: int, first: int
) -> None:
    recipe = Recipe(**{**TINY, "batch": 24, "steps": 3, "accumulate": accumulate})
    parts = [list(Batches(recipe=recipe, first=first, rank=r, processes=processes)) for r in range(processes)]
    for step in range(3 - first):
        own = [n for p in parts for part in p[step * accumulate : (step + 1) * accumulate] for n in part]
        assert sorted(own) == list(range((first + step) * 24, (first + step + 1) * 24))


def test_stain_unchanged_is_no_change_and_twice_the_amount_is_twice_the_density() -> None:
    pixels = np.random.default_rng(0).uniform(0.3, 1, (5, 4, 3)).astype(np.float32)
    assert np.allclose(restain(pixels, (1, 1, 1)), pixels, atol=1e-5)
    assert np.allclose(restain(pixels, (2, 2, 2)), pixels**2, atol=1e-5)
    rng = np.random.default_rng(3)
    assert another_laboratory(pixels, rng, 0.0) is pixels
    changed = another_laboratory(pixels, rng, 1.0)
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1


def test_images_are_read_at_their_scale_and_small_ones_mirrored(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 90, 3), (10, 200, 30), np.uint8)).save(tmp_path / "a.png")
    corpus = corpus_of(tmp_path, mpp=0.25)
    assert corpus.counts() == {"slides": 0, "images": 1, "tiles": 1}
    tile = corpus.draw(np.random.default_rng(0), 32, 0.5)
    assert tile.shape == (32, 32, 3)
    assert (tile == (10, 200, 30)).all()


def test_large_images_are_not_all_kept_in_memory(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, image = corpus_of(tiles), 96 * 96 * 3
    every = [corpus.draw(np.random.default_rng(i), 32, 0.5) for i in range(30)]
    assert len(corpus._open) > 8
    corpus.close()
    for most, kept in ((3 * image, 3), (image - 1, 1)):
        monkeypatch.setattr("kras_plugins.pretraining.tiles._KEPT_BYTES", most)
        assert all(np.array_equal(corpus.draw(np.random.default_rng(i), 32, 0.5), every[i]) for i in range(30))
        assert len(corpus._open) == kept


def test_tiles_of_a_slide_are_its_tissue_and_looked_for_once_a_store(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = shared_data / "slides" / "cmu_small_region.svs"
    with corpus_of(slide, store=tmp_path / "store") as corpus:
        assert corpus.counts()["slides"] == 1
        assert len(corpus) > 1000
        tiles = [corpus.draw(np.random.default_rng(i), 64, 0.5) for i in range(8)]
        assert np.mean([t.std() for t in tiles]) > 15
        assert corpus.digest == corpus_of(slide, store=tmp_path / "other").digest
        monkeypatch.setattr("kras_plugins.pretraining.tiles.tile_grid", lambda *_: pytest.fail("looked again"))
        assert corpus.digest == corpus_of(slide, store=tmp_path / "store").digest


def test_nothing_to_train_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither slides nor images"):
        corpus_of(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        corpus_of(tmp_path / "gone")
    (tmp_path / "bad.png").write_bytes(b"no image")
    told = []
    with pytest.raises(ConfigError, match="no tile to train on"):
        survey([tmp_path], looking(tmp_path), image_mpp=0.5, set_aside=lambda f, e: told.append(f.name))
    assert told == ["bad.png"]


def test_an_image_too_large_to_open_is_left_out(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # twice that and more is refused by Pillow
    told: list[str] = []
    with pytest.raises(ConfigError, match="no tile to train on"):
        survey([tiles], looking(Path("none")), image_mpp=0.5, set_aside=lambda f, e: told.append(str(e)))
    assert len(told) == 12
    assert "exceeds limit" in told[0]


def test_a_tile_that_cannot_be_read_is_told_once_and_another_is_drawn(
    tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training that stopped there would stop there again, however often it is started."""
    for file in sorted(tiles.iterdir())[:4]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    corpus = corpus_of(tmp_path)
    whole = [corpus.draw(np.random.default_rng(i), 32, 0.5) for i in range(20)]
    corpus.close()
    (tmp_path / "01.png").write_bytes(b"damaged since")
    with caplog.at_level(logging.WARNING, "kras"):
        drawn = [corpus.draw(np.random.default_rng(i), 32, 0.5) for i in range(20)]
    same = [np.array_equal(a, b) for a, b in zip(whole, drawn, strict=True)]
    assert 5 < sum(same) < 20, "only tiles of the damaged file are others"
    assert [r.getMessage() for r in caplog.records] == [
        f"a tile cannot be read, another one is used: {tmp_path}/01.png: cannot be read: cannot identify image file "
        f"'{tmp_path}/01.png' (replace or remove the image)"
    ]
    corpus.close()
    for file in tmp_path.iterdir():
        file.write_bytes(b"the disk is gone")
    with pytest.raises(SlideError, match="cannot be read"):
        corpus.draw(np.random.default_rng(0), 32, 0.5)


def test_effective_rank_is_the_number_of_equal_directions() -> None:
    x = torch.zeros(40, 10)
    for i in range(40):
        x[i, i % 4] = 1.0 if i < 20 else -1.0  # four orthogonal directions of equal strength, mean zero
    assert effective_rank(x) == pytest.approx(4, rel=1e-5)
    assert effective_rank(torch.ones(8, 5)) == 1
    assert math.isnan(effective_rank(torch.full((3, 3), math.nan)))
    line = torch.linspace(-1, 1, 9)[:, None] * torch.ones(1, 5)
    assert effective_rank(line + 3) == pytest.approx(1, abs=1e-3)


def test_entropy_is_one_where_prototypes_share_alike_and_none_where_one_takes_all() -> None:
    features, center = torch.randn(6, 4), torch.zeros(1, 8)
    even = examine(features, torch.zeros(6, 8), center, 0.04)
    assert (even.entropy, even.spread) == (pytest.approx(1), pytest.approx(1))
    single = examine(features, 9 * torch.eye(8)[torch.zeros(6, dtype=int)], center, 0.04)
    assert (single.entropy, single.spread) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    shared = examine(features, 9 * torch.eye(8)[:6], center, 0.04)
    assert shared.entropy == pytest.approx(0, abs=1e-6)
    assert shared.spread == pytest.approx(math.log(6) / math.log(8))


def test_three_bad_checks_after_the_grace_stop_and_not_a_number_stops_at_once() -> None:
    good, bad = Health(rank=9, entropy=0.5, spread=0.5), Health(rank=1.01, entropy=0.5, spread=0.5)
    watch = Watch(grace=10)
    assert [bool(watch.sees(s, 1.0, bad)) for s in (0, 5, 10, 11, 12)] == [False, False, False, False, True]
    for other in (Health(rank=9, entropy=0.0, spread=0.01), Health(rank=9, entropy=0.9999, spread=1.0)):
        watch = Watch(grace=0)
        assert [bool(watch.sees(s, 1.0, other)) for s in range(3)] == [False, False, True]
    watch = Watch(grace=0)
    assert not any(watch.sees(0, 1.0, h) for h in (bad, bad, good, bad, bad))
    assert "not finite" in Watch(grace=99).sees(0, math.nan, good)
    watch = Watch(grace=0, samples=3)
    assert not any(watch.sees(s, 1.0, bad) for s in range(5)), "three samples have no rank to speak of"


def test_the_center_moves_once_a_step_by_the_mean_of_all_parts() -> None:
    recipe = Recipe(**{**TINY, "center_momentum": 0.75})
    loss, out = StepLoss(recipe), torch.randn(2, 8, 64)
    for part in out.split(4, dim=1):
        loss(list(part), list(part), teacher_temp=0.04)
    assert float(loss.center.abs().max()) == 0
    loss.end_step()
    torch.testing.assert_close(loss.center[0, 0], 0.25 * out.mean(dim=(0, 1)))


@pytest.mark.parametrize(
    ("broken", "why"),
    [({"center_momentum": 1.0, "teacher_temperature": (0.002, 0.002)}, "collapsed"), ({"lr": 1e4}, "collapsed|finite")],
)
def test_a_collapse_is_found_and_told(tiles: Path, tmp_path: Path, broken: dict[str, object], why: str) -> None:
    recipe = Recipe(**{**TINY, "steps": 60, "warmup": 0.05, "clip": 1e9, "momentum": (0.5, 0.5), **broken})
    seen: list[Report] = []
    with pytest.raises(BackendError, match=why) as e:
        pretrain(corpus_of(tiles), recipe, tmp_path / "c", ALONE, workers=0, watch_every=2, tell=seen.append)
    assert "learning rate" in e.value.hint
    assert seen[-1].step < 60


def test_parts_of_one_sample_are_no_collapse(tiles: Path, tmp_path: Path) -> None:
    """Two views of one sample are one direction: health is that of all parts of a step."""
    recipe = Recipe(**{**TINY, "accumulate": 8, "warmup": 0.0})
    seen: list[Report] = []
    pretrain(corpus_of(tiles), recipe, tmp_path / "c", ALONE, workers=0, watch_every=1, tell=seen.append)
    assert min(r.health.rank for r in seen if r.health is not None) > 1.5


def test_nothing_of_lightning_is_imported() -> None:
    code = "import sys, kras_plugins.pretraining.dino; print({'pytorch_lightning', 'hydra'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_training_brings_views_of_one_tile_together(tiles: Path, tmp_path: Path) -> None:
    recipe = Recipe(**{**TINY, "steps": 60, "momentum": (0.9, 1.0), "lr": 3e-3, "teacher_temperature": (0.04, 0.04)})
    corpus = corpus_of(tiles)
    views = Views(corpus, Recipe(**{**TINY, "seed": 9}))
    pairs = [torch.stack([views[n][k] for n in range(48)]) for k in (0, 1)]

    def alike(network: Network) -> float:
        with torch.no_grad():
            one, two = (x - x.mean(dim=0) for x in network(pairs)[0])
        return float(torch.cosine_similarity(one, two).mean())

    seen: list[Report] = []
    result = pretrain(corpus, recipe, tmp_path / "c", ALONE, workers=0, tell=seen.append)
    assert alike(result.teacher) > alike(build(recipe)) + 0.1
    assert seen[-1].health is not None
    assert seen[-1].health.rank > 2
    assert 0 <= result.waiting <= 1


def test_settings_that_cannot_be_meant_are_told(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("batch = 32\nlr = 0.1")
    recipe = read_recipe(file, ["lr=0.2", 'arguments={"depth": 2}'], batch=64)
    assert (recipe.batch, recipe.lr, recipe.arguments) == (64, 0.2, {"depth": 2})
    wrong = [(["steps=0"], "steps"), (["sead=1"], "sead"), (["lr"], "no `=`"), (["local_scale=[2,3]"], "local_scale")]
    wrong.append((["batch=10", "accumulate=4"], "equal parts"))
    wrong += [(["std=[0.2,0,0.2]"], "std"), (["head=[32,16,1]"], "head"), (["teacher_temperature=[0,0.1]"], "teacher"),
              (["momentum=[0.9,1.1]"], "momentum"), (["weight_decay=[-1,0]"], "weight_decay"),
              (["mpp=Infinity"], "mpp"), (["lr=Infinity"], "lr")]  # fmt: skip
    for words, match in wrong:
        with pytest.raises(ConfigError, match=match):
            read_recipe(None, words)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"r\.toml"):
        read_recipe(file, [])


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"global_px": 30}, "global_px=30: patches of vit_tiny_patch16_224 have 8 px"),
        ({"local_px": 20}, "local_px=20"),
        ({"arguments": {**TINY["arguments"], "num_heads": 5}}, "divisible"),
        ({"arguments": {**TINY["arguments"], "img_size": 64}}, "set by px"),
        ({"arguments": {"class_token": False, "global_pool": "avg"}}, "no class token"),
        ({"model": "resnet18", "arguments": {}}, "resnet18"),
        ({"model": "vit_of_nobody"}, "not a model of timm"),
    ],
)
def test_a_network_that_cannot_be_built_or_shown_its_views_is_told(changed: dict[str, object], match: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=match):
        build(Recipe(**{**TINY, **changed}))


def test_views_that_nobody_cuts_may_have_any_size() -> None:
    build(Recipe(**{**TINY, "local_px": 20, "local_views": 0}))
