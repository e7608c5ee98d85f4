"""A bundle made with other channel statistics refuses to predict, however they came to differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kras_plugins.errors import ConfigError
from kras_plugins.host.parts import open_parts
from kras_plugins.study.apply import open_bundle_parts
from kras_plugins.study.outputs import part_facts
from kras_plugins.study.session import Session, opened
from kras_plugins.study.settings import StudySettings

TINY = ["extractor.vit.model=vit_tiny_patch16_224", "extractor.vit.weights=random:0"]


def session(*options: str) -> Session:
    with opened(StudySettings().with_options(*TINY, *options)) as made:
        return made


def bundle_of(made: Session) -> Any:
    """The facts of a bundle that a run with these options would freeze."""
    with open_parts(made.registry, made.config, extractor="vit", profiler=None, backend="local") as parts:
        return SimpleNamespace(facts=part_facts(parts))


def test_a_resolution_that_the_preset_does_not_allow_is_refused_before_any_slide_is_opened() -> None:
    made = session("extractor.vit.model=virchow2", "extractor.vit.mpp=0.25")
    with pytest.raises(ConfigError, match=r"virchow2 was trained with 0\.5 or 1\.0 or 2\.0"):
        with open_parts(made.registry, made.config, extractor="vit", profiler=None, backend="local"):
            pass


def test_the_same_statistics_are_accepted() -> None:
    with open_bundle_parts(session(), bundle_of(session())) as parts:
        assert parts.extractor is not None


def test_an_option_with_other_statistics_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"extractor\.vit\.mean=.*the bundle was made with"):
        with open_bundle_parts(session("extractor.vit.mean=[0.7,0.5,0.6]"), bundle_of(session())):
            pass


def test_a_plugin_whose_preset_states_other_statistics_now_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade that mended a preset: the options are the same, the transform is not."""
    from dataclasses import replace

    from kras_extractor_vit import presets, resolve

    made = bundle_of(session("extractor.vit.model=lunit-s16"))
    other = {**presets.PRESETS, "lunit-s16": replace(presets.PRESETS["lunit-s16"], mean=presets.IMAGENET_MEAN)}
    monkeypatch.setattr(resolve, "PRESETS", other)
    with pytest.raises(ConfigError, match="its models are vit .*, the bundle was made with vit"):
        with open_bundle_parts(session("extractor.vit.model=lunit-s16"), made):
            pass
