"""Bundles from somebody else: what could crash the process is tried in another one, and its errors are passed on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cohorts import read_rows, write_rows
from quick_study import quick
from typer.testing import CliRunner

from kras_plugins import KrasError, PluginError, StoreError, study
from kras_plugins.cli.app import app
from kras_plugins.learning.bundle import Bundle
from kras_plugins.learning.seal import seal
from kras_plugins.learning.signature import key_folder
from kras_plugins.study import StudySettings, vetting
from kras_plugins.study.apply import open_bundle, open_bundle_parts
from kras_plugins.study.results import Training
from kras_plugins.study.session import opened

MADE_UP = "these patients were made up"

PLUGIN = """
import os, signal, time
from kras_plugins import ClassifierPlugin, SemanticProfile, hookimpl

class Hostile:
    def predict(self, samples):
        {predict}
    def explain(self, sample):
        {explain}

def load(folder):
    {load}
    return Hostile()

@hookimpl
def kras_classifiers():
    yield ClassifierPlugin(name="hostile", summary="does what it likes", consumes=SemanticProfile,
                           create=lambda options, seed: Hostile(), load=load)
"""


@pytest.fixture(scope="module")
def theirs(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training of somebody else, whose store is not here."""
    folder = tmp_path_factory.mktemp("theirs")
    settings = quick(tables, folder / "store", classifiers=("rf", "lgbm"), folds=2, demonstration=(MADE_UP,))
    few = settings.with_options("classifier.lgbm.rounds=5", "classifier.rf.trees=5")
    return study.train(tables / "cohort.csv", few, out=folder / "out")


@pytest.fixture
def bundle(theirs: Training, tmp_path: Path) -> Path:
    shutil.copytree(theirs.bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def settings_at(tmp_path: Path, **given: Any) -> StudySettings:
    return StudySettings.model_validate({"cache": tmp_path / "store", "workers": 1, **given})


def loaded(bundle: Path, settings: StudySettings) -> Bundle:
    with opened(settings) as session:
        return open_bundle(session, bundle)


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads((bundle / "bundle.json").read_text())
    change(content)
    (bundle / "bundle.json").write_text(json.dumps(content))
    seal(bundle)
    return bundle


def hostile(bundle: Path, tmp_path: Path, **does: str) -> StudySettings:
    """Settings with a plug-in that does this, which now is the bundle's first member."""
    pass_ = {"load": "pass", "predict": "return [0.0] * len(samples)", "explain": "raise ValueError('never')"}
    (tmp_path / "hostile.py").write_text(PLUGIN.format(**{**pass_, **does}))
    rewritten(bundle, lambda content: content["members"][0].update(plugin="hostile"))
    return settings_at(tmp_path, plugins=(tmp_path / "hostile.py",))


def never(*_: object) -> str:
    raise AssertionError("a process was started")


def test_a_bundle_is_tried_once_and_again_when_a_byte_differs(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = loaded(bundle, settings_at(tmp_path)).digest
    with monkeypatch.context() as patched:
        patched.setattr(vetting, "run_alone", never)
        assert loaded(bundle, settings_at(tmp_path)).digest == digest
        rewritten(bundle, lambda content: content["provenance"].update(seed=1))
        with pytest.raises(AssertionError, match="a process was started"):
            loaded(bundle, settings_at(tmp_path))


def test_a_bundle_that_was_trained_here_is_not_tried(theirs: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "run_alone", never)
    own = StudySettings(cache=theirs.folder.parent / "store")
    assert loaded(theirs.bundle, own).digest == json.loads(theirs.manifest.read_text())["bundle_digest"]


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ({"load": "os.kill(os.getpid(), signal.SIGSEGV)"}, "its end by SIGSEGV while loading models/fold-0/"),
        ({"predict": "os.abort()"}, "its end by SIGABRT while scoring made-up patients"),
        ({"explain": "os._exit(7)"}, "exit code 7 while explaining a score of"),
    ],
    ids=["load", "predict", "explain"],
)
def test_a_model_that_ends_its_process_is_one_error(
    bundle: Path, tmp_path: Path, does: dict[str, str], said: str
) -> None:
    with pytest.raises(StoreError, match=f"bundle refused: .*{said}") as e:
        loaded(bundle, hostile(bundle, tmp_path, **does))
    assert "\n" not in e.value.message


def test_a_model_that_hangs_is_one_error(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "SECONDS", 2)
    with pytest.raises(StoreError, match="bundle refused: .*no end: it was ended after 2 s"):
        loaded(bundle, hostile(bundle, tmp_path, load="time.sleep(1e6)"))


def test_a_model_that_outgrows_its_process_is_one_error(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetting, "MEMORY", 3 << 30)
    with pytest.raises(PluginError, match="bundle refused: .*[mM]emory"):
        loaded(bundle, hostile(bundle, tmp_path, load="bytes(4 << 30)"))


def test_a_damaged_model_is_no_fault_of_the_classifier_that_cannot_load_it(bundle: Path, tmp_path: Path) -> None:
    file = bundle / "models/fold-0/rf/forest.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    seal(bundle)
    with pytest.raises(StoreError, match="models/fold-0/rf: .* cannot load this model: SafetensorError") as e:
        loaded(bundle, settings_at(tmp_path))
    assert "it is damaged" in e.value.hint


def test_a_model_for_other_features_is_refused(bundle: Path, tmp_path: Path) -> None:
    file = bundle / "models/fold-0/rf/classifier.json"
    file.write_text(file.read_text().replace("DENSITY", "INTENSITY"))
    seal(bundle)
    with pytest.raises(KrasError, match="bundle refused: .*lacks the feature 'INTENSITY"):
        loaded(bundle, settings_at(tmp_path))


def test_a_text_that_crashes_lightgbm_is_refused(bundle: Path, tmp_path: Path, shared_cases: Path) -> None:
    crash = (shared_cases / "bundles" / "crash-58.txt").read_bytes()
    (bundle / "models/fold-1/lgbm/model.txt").write_bytes(crash)
    seal(bundle)
    with pytest.raises(StoreError, match=r"bundle refused: .*model\.txt is not a model of classifier lgbm"):
        loaded(bundle, settings_at(tmp_path))


def test_facts_that_an_evaluation_could_not_use_are_refused(bundle: Path, tmp_path: Path) -> None:
    rewritten(bundle, lambda c: c["facts"]["training"]["features"].update({"DENSITY 0": {"n": 1}}))
    with pytest.raises(StoreError, match="bundle refused: .*KeyError"):
        loaded(bundle, settings_at(tmp_path))


def _renamed(content: dict[str, Any], name: str) -> None:
    content["members"][0]["name"] = name
    for k, fold in enumerate(content["members"][0]["folds"]):
        fold["model"] = f"models/fold-{k}/{name}"


FACTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "facts.distribution: .* ascending order": lambda c: c["facts"]["distribution"]["features"].update(
        x=[*range(19, 0, -1)]
    ),
    "facts.distribution: .* at is not 5, 10": lambda c: c["facts"]["distribution"].update(at=[1]),
    "facts.distribution.features": lambda c: c["facts"]["distribution"]["features"].update(x=[["a"]]),
    "facts.target": lambda c: c["facts"].pop("target"),
    "facts.prevalence": lambda c: c["facts"].update(prevalence=1.5),
    "facts.prevalence: ": lambda c: c["facts"].update(prevalence="0.3"),
    "facts.baselines": lambda c: c["facts"].update(baselines=[]),
    "facts.profiler": lambda c: c["facts"].update(profiler=None),
    "facts.profiler.models": lambda c: c["facts"]["profiler"].update(models=[]),
    "facts.readers": lambda c: c["facts"].pop("readers"),
    "facts.operating_points": lambda c: c["facts"]["operating_points"].update(rule_in=3),
    "facts.internal": lambda c: c["facts"].update(internal={"models": {"ensemble": {}}}),
    "provenance.demonstration": lambda c: c["provenance"].update(demonstration="yes"),
    "facts.precision": lambda c: c["facts"].update(precision="\x1b[2J"),
    "named like the column patient_id": lambda c: _renamed(c, "patient_id"),
    "thresholds.ensemble": lambda c: c["thresholds"].pop("ensemble"),
}


@pytest.mark.parametrize(("said", "change"), FACTS.items(), ids=FACTS)
def test_facts_of_another_shape_are_refused_by_place(bundle: Path, tmp_path: Path, said: str, change: Any) -> None:
    if "column" in said:
        for fold in (bundle / "models").iterdir():
            (fold / "rf").rename(fold / "patient_id")
    with pytest.raises(StoreError, match=rf"bundle refused: .*{said}"):
        loaded(rewritten(bundle, change), settings_at(tmp_path))


def kras(*words: object) -> Any:
    return CliRunner().invoke(app, ["bundle", *map(str, words)])


def test_a_signature_can_be_demanded_and_is_made_and_told_by_commands(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRAS_CONFIG", str(tmp_path / "config"))
    demanding = settings_at(tmp_path, require_signature=True)
    with pytest.raises(StoreError, match="it is not signed"):
        loaded(bundle, demanding)
    assert kras("verify", bundle).exit_code == 1
    made = json.loads(kras("keygen", tmp_path / "me", "--json").stdout)
    assert kras("sign", bundle, "--key", tmp_path / "me").exit_code == 0
    with pytest.raises(StoreError, match="is not trusted"):
        loaded(bundle, demanding)
    assert kras("verify", bundle).exit_code == 1
    key_folder().mkdir(parents=True)
    shutil.copy(made["public"], key_folder() / "lab.pub")
    assert json.loads(kras("verify", bundle, "--json").stdout)["trusted"] == "lab"
    shown = json.loads(kras("show", bundle, "--json").stdout)
    assert (shown["signed by"], shown["trusted as"]) == (made["sha256"], "lab")
    assert shown["members"] == ["rf (rf, 2 folds)", "lgbm (lgbm, 2 folds)"]
    assert shown["demonstration"] == [MADE_UP]
    assert loaded(bundle, demanding).digest == shown["digest"]


def test_what_is_told_of_a_training_and_who_was_in_it_stands_in_every_output(
    theirs: Training, tables: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    shutil.copytree(tables, here)
    for name in ("LUAD.csv", "LUSC.csv"):  # the second patient of each table is measured again
        rows = read_rows(here / name)
        for row in rows:
            if row["case"] in ("TCGA-02-0002", "TCGA-03-0003"):
                density = next(k for k in row if k.startswith("DENSITY 1"))
                row[density] = "0.123"
        write_rows(here / name, rows)
    cohort = read_rows(here / "cohort.csv")[:4]
    write_rows(here / "few.csv", cohort)
    settings = quick(here, theirs.folder.parent / "store")
    scored = study.score(theirs.bundle, here / "few.csv", settings, out=here / "new")
    rows = {r["patient_id"]: r["cautions"] for r in read_rows(here / "new/predictions.csv")}
    assert all(MADE_UP in told for told in rows.values())
    assert {p for p, told in rows.items() if "was in training" in told} == {"TCGA-00-0000", "TCGA-01-0001"}
    assert scored.predictions.column("cautions").to_pylist() == list(rows.values())
    for patient, page in scored.pages.items():
        text = re.sub(r"\s+", " ", page.read_text())
        assert MADE_UP in text
        assert ("was in training" in text) == (patient in ("TCGA-00-0000", "TCGA-01-0001"))
    (entry,) = json.loads((here / "new/manifest.json").read_text())["calls"]
    assert entry["demonstration"] == [MADE_UP]
    evaluated = study.validate(theirs.bundle, tables / "cohort.csv", settings, out=here / "ext")
    assert any(MADE_UP in note for note in evaluated.metrics["notes"])
    assert MADE_UP in evaluated.report.read_text()


@pytest.mark.parametrize(("kind", "key"), [("profiler", "table"), ("profiler", "surprise"), ("readers", "surprise")])
def test_a_bundle_sets_no_option_that_changes_no_result(theirs: Training, tables: Path, kind: str, key: str) -> None:
    def change(content: dict[str, Any]) -> None:
        facts = content["facts"]
        (facts["readers"]["tiff"] if kind == "readers" else facts[kind]["options"])[key] = "/etc/passwd"

    settings = quick(tables, theirs.folder.parent / "store")
    with opened(settings) as session:
        made = open_bundle(session, theirs.bundle)
        content = {"facts": json.loads(json.dumps(made.facts))}
        change(content)
        with pytest.raises(StoreError, match=rf"bundle refused: it sets \w+\.\w+\.{key}"):
            with open_bundle_parts(session, replace(made, facts=content["facts"])):
                pass
