"""A bundle made with other channel statistics refuses to predict, however they came to differ."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kras_plugins.errors import ConfigError
from kras_plugins.host.parts import open_parts
from kras_plugins.study.apply import open_bundle_parts
from kras_plugins.study.outputs import part_facts
from kras_plugins.study.results import Training
from kras_plugins.study.session import Session, opened
from kras_plugins.study.settings import StudySettings
from kras_plugins.study.validate import validate

TINY = ["extractor.vit.model=vit_tiny_patch16_224", "extractor.vit.weights=random:0"]


def test_a_table_of_features_given_by_name_or_as_an_option_gives_the_same_bytes(
    tables: Path, done: Training, tmp_path: Path
) -> None:
    files = [tables / "LUAD.csv", tables / "LUSC.csv"]
    plain = StudySettings(cache=tmp_path / "store", workers=1)
    ways = {
        "named": plain.with_tables(files),
        "option": plain.with_options(f"profiler.import.table={json.dumps([str(f) for f in files])}"),
    }
    for name, settings in ways.items():
        validate(done.bundle, tables / "cohort.csv", settings, out=tmp_path / name)
    for file in ("predictions.csv", "metrics.json"):
        assert (tmp_path / "named" / file).read_bytes() == (tmp_path / "option" / file).read_bytes()


def test_a_table_of_features_is_refused_where_the_bundle_makes_them_from_slides() -> None:
    given = StudySettings().with_options(*TINY).with_tables(["features.csv"])
    with opened(given) as made, pytest.raises(ConfigError, match="features.csv.*its profiler is none") as refused:
        with open_bundle_parts(made, bundle_of(session())):
            pass
    assert "leave out the table" in refused.value.hint


def session(*options: str) -> Session:
    with opened(StudySettings().with_options(*TINY, *options)) as made:
        return made


def bundle_of(made: Session) -> Any:
    """The facts of a bundle that a run with these options would freeze."""
    with open_parts(made.registry, made.config, extractors=["vit"], profiler=None, backend="local") as parts:
        return SimpleNamespace(facts=part_facts(parts), members=())


def test_a_resolution_that_the_preset_does_not_allow_is_refused_before_any_slide_is_opened() -> None:
    made = session("extractor.vit.model=virchow2", "extractor.vit.mpp=0.25")
    with pytest.raises(ConfigError, match=r"virchow2 was trained with 0\.5 or 1\.0 or 2\.0"):
        with open_parts(made.registry, made.config, extractors=["vit"], profiler=None, backend="local"):
            pass


def test_the_same_statistics_are_accepted() -> None:
    with open_bundle_parts(session(), bundle_of(session())) as parts:
        assert list(parts.extractors) == [""]


def test_an_option_with_other_statistics_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"extractor\.vit\.mean=.*the bundle was made with"):
        with open_bundle_parts(session("extractor.vit.mean=[0.7,0.5,0.6]"), bundle_of(session())):
            pass


def test_a_plugin_whose_preset_states_other_statistics_now_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade that corrected a preset: the options are the same, the transform is not."""
    from dataclasses import replace

    from kras_extractor_vit import presets, resolve

    made = bundle_of(session("extractor.vit.model=lunit-s16"))
    other = {**presets.PRESETS, "lunit-s16": replace(presets.PRESETS["lunit-s16"], mean=presets.IMAGENET_MEAN)}
    monkeypatch.setattr(resolve, "PRESETS", other)
    with pytest.raises(ConfigError, match="its models are vit .*, the bundle was made with vit"):
        with open_bundle_parts(session("extractor.vit.model=lunit-s16"), made):
            pass
