"""Settings: defaults < kras.toml < what is given; every value checked, every error with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from kras_plugins.cohort.histology import HISTOLOGIES
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.thresholds import Targets
from kras_plugins.study.settings import StudySettings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a settings file in the current folder, whatever its content."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KRAS_TRUST", "1")
    return tmp_path / "kras.toml"


def test_what_is_given_beats_the_file_and_the_file_beats_the_default(file: Path) -> None:
    assert StudySettings.load().targets == Targets()
    file.write_text("[run]\ntarget_sensitivity = 0.8\ntarget_specificity = 0.7\nrisk_control = true\n")
    given = StudySettings.load(target_sensitivity=0.95, target_specificity=None)
    assert given.targets == Targets(sensitivity=0.95, specificity=0.7, risk_control=True)


def test_kras_toml_of_the_current_folder_is_read_by_itself_and_its_paths_are_relative_to_it(file: Path) -> None:
    file.write_text('[run]\ncohort = "study/cohort.csv"\nplugins = ["mine.py"]\ntarget = "kras_driver"\n')
    found = StudySettings.load()
    assert found.cohort is not None and found.cohort.resolve() == file.parent / "study/cohort.csv"
    assert found.target == "kras_driver"
    elsewhere = StudySettings.load(file.parent / "kras.toml")
    assert elsewhere.plugins == (file.parent / "mine.py",)


@pytest.mark.parametrize("written", ['"vit, h5"', '["vit", "h5"]'], ids=["text", "list"])
def test_several_extractors_are_one_text_or_a_list(file: Path, written: str) -> None:
    file.write_text(f"[run]\nextractor = {written}\n[extractor.h5]\nencoder = 'uni'\n")
    found = StudySettings.load()
    assert (found.extractor, found.extractors) == ("vit,h5", ("vit", "h5"))
    assert found.options == {"extractor": {"h5": {"encoder": "uni"}}}
    assert (StudySettings().extractor, StudySettings().extractors) == ("vit", ("vit",))


def test_a_study_in_python_reads_no_file(file: Path) -> None:
    file.write_text("[run]\nfolds = 3\n")
    assert StudySettings().folds == 5


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"target_sensitivity": 90}, "--sensitivity 90"),
        ({"target_specificity": 0.0}, "--specificity 0.0"),
        ({"target_sensitivity": 1.0, "risk_control": True}, "cannot guarantee"),
        ({"permutations": 9}, "--permutations 9"),
        ({"prevalences": [13.0]}, "--prevalence 13.0: 13 must lie strictly between 0 and 1"),
        ({"classifiers": "rf,rf"}, "--classifiers rf,rf: names none, or one twice"),
        ({"classifiers": " , "}, "names none"),
        ({"extractor": "vit,h5,vit"}, "--extractor vit,h5,vit: names none, or one twice"),
        ({"extractor": "vit,"}, "--extractor vit,: names none"),
        ({"folds_file": Path("folds.csv"), "folds": 3}, "--folds-file and folds exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_option(given: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as e:
        StudySettings.load(**given)
    assert e.value.hint
    with pytest.raises(pydantic.ValidationError):
        StudySettings(**given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nclassifers = ['he']", "unknown setting run.classifers"),
        ("[run]\nsplits = 'sites'", "run.splits"),
        ("[run]\nfolds = '5'", "run.folds"),
        ("[run]\nfolds = 1", "run.folds"),
        ("[run]\ntarget_specificity = 95.0", "run.target_specificity"),
        ("[run]\nprevalences = [1.0]", "run.prevalences: 1 must lie strictly between"),
        ("[run.histologies]\n'typ a' = 'adeno'", "run.histologies: 'typ a' is 'adeno', which is not a histology"),
        ("[run]\nhistologies = 'squamous'", "run.histologies: Input should be a valid dictionary"),
        ("cohort = 1", "unknown table"),
        ("engine = 1", "engine is not a table"),
        ("engine = []", "engine is not a table"),
        ("[run]\nclassifiers = 3", "run.classifiers"),
        ("[run]\nclassifiers = [1]", "run.classifiers"),
        ("[run]\nclassifiers = {rf = 1}", "run.classifiers"),
        ("[run]\nextractor = []", "run.extractor: names none"),
        ("[run]\nmpp = inf", "run.mpp: Input should be a finite number"),
        ('[run]\ncohort = "a\\u0000b"', "a text contains a NUL character"),
    ],
)
def test_a_bad_file_is_named_with_its_setting(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as e:
        StudySettings.load()
    assert "kras.toml" in e.value.message


def test_a_wrong_value_is_shown_by_its_beginning(file: Path) -> None:
    file.write_text(f"[run]\nfolds = '{'five' * 1000}'\n")
    with pytest.raises(ConfigError, match="run.folds") as e:
        StudySettings.load()
    assert "fivefive" in e.value.hint and e.value.hint.endswith("…") and len(e.value.hint) < 300


def test_a_histology_that_is_none_is_answered_with_those_that_there_are(file: Path) -> None:
    file.write_text("[run.histologies]\n'Typ A ' = 'adenocarcinoma'\n")
    assert StudySettings.load().histologies == {"typ a": "adenocarcinoma"}
    file.write_text("[run.histologies]\n'Typ A ' = 'Adenocarcinoma'\n")
    with pytest.raises(ConfigError) as e:
        StudySettings.load()
    assert all(f'"{name}"' in e.value.hint for name in HISTOLOGIES)


def test_a_file_of_folds_that_is_named_now_stands_above_the_folds_of_the_file(file: Path) -> None:
    file.write_text("[run]\nfolds = 3\nrepeats = 2\n")
    assert StudySettings.load(folds_file=Path("folds.csv")).folds_file == Path("folds.csv")
    file.write_text('[run]\nfolds_file = "folds.csv"\n')
    assert StudySettings.load(folds=4).folds_file is None


def test_prevalences_are_sorted_and_told_once() -> None:
    assert StudySettings(prevalences=(0.13, 0.05, 0.13)).prevalences == (0.05, 0.13)


def test_settings_are_frozen_and_others_are_made_of_them() -> None:
    settings = StudySettings(classifiers=("rf",))
    with pytest.raises(pydantic.ValidationError):
        settings.folds = 3  # type: ignore[misc]
    other = settings.having(folds=3).with_options("classifier.rf.trees=10").with_tables([Path("a.csv"), Path("b.csv")])
    assert (other.folds, other.classifiers, other.profiler) == (3, ("rf",), "import")
    assert other.options == {
        "classifier": {"rf": {"trees": 10}},
        "profiler": {"import": {"table": ["a.csv", "b.csv"]}},
    }
    with pytest.raises(pydantic.ValidationError):
        settings.having(folds=1)


def test_where_things_lie_and_how_fast_they_go_is_no_part_of_a_study() -> None:
    here = StudySettings(cohort=Path("a.csv"), out=Path("x"), cache=Path("y"), workers=3, deadline=5.0)
    assert here.result_affecting() == StudySettings().result_affecting()
