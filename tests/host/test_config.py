"""Options of plug-ins: defaults < a settings file < -o."""

from __future__ import annotations

from pathlib import Path

import pytest

from kras_plugins.errors import ConfigError
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover


@pytest.fixture
def vit():  # type: ignore[no-untyped-def]
    return discover().find("extractor", "vit").record


def test_an_override_beats_the_file_and_the_file_beats_the_default(tmp_path: Path, vit) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "kras.toml"
    file.write_text('[extractor.vit]\nmodel = "uni"\npooling = "mean"\n')
    options = load_config(file, ["extractor.vit.model=lunit-s8"]).options_for("extractor", vit)
    assert (options.model, options.pooling, options.weights) == ("lunit-s8", "mean", "")


def test_values_of_overrides_keep_their_type(vit) -> None:  # type: ignore[no-untyped-def]
    config = load_config(
        None, ["extractor.vit.px=256", "extractor.vit.mean=[0.5, 0.5, 0.5]", "extractor.vit.weights=random:0"]
    )
    options = config.options_for("extractor", vit)
    assert (options.px, options.mean, options.weights) == (256, (0.5, 0.5, 0.5), "random:0")


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("extractor.vit.modle=uni", "unknown option extractor.vit.modle", "did you mean 'model'"),
        ("extractor.vit.px=big", "extractor.vit.px: Input should be a valid integer", "kras plugin show extractor:vit"),
    ],
)
def test_a_bad_option_names_itself_and_what_to_do(override: str, message: str, hint: str, vit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as e:
        load_config(None, [override]).options_for("extractor", vit)
    assert message in e.value.message
    assert hint in e.value.hint


@pytest.mark.parametrize("override", ["extractor.vit=uni", "vit.model=uni", "extractor.vit.model", "x.y.z=1"])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="not of the form kind.name.key=value"):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [("cohort = 1", "unknown table"), ("a = ", "not valid TOML"), ("extractor.vit = 3", "not a table")],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "kras.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as e:
        load_config(file)
    assert str(file) in e.value.message
