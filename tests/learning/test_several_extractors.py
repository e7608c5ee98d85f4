"""Members on the bags of one of several extractors: each learns only from its own, and a bundle keeps them separate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from kras_plugins import ConfigError, Sample, StoreError
from kras_plugins.evaluation.shift import training_summary
from kras_plugins.evaluation.thresholds import choose_thresholds
from kras_plugins.learning.bundle import load_bundle, write_bundle
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.outer_models import explain_out_of_fold
from kras_plugins.learning.seal import SEAL, seal
from kras_plugins.learning.stand_ins import stand_ins
from kras_plugins.store import Store


def both_bags(one: Sample, other: Sample) -> Sample:
    """A patient with a bag of extractor `near`, and one of three tiles more numbers wide of extractor `far`."""
    (near,), (far,) = one.bags, other.bags
    wide = np.hstack([far.features, far.features[:, :1]])[:3]
    marked = replace(far, slide_id=near.slide_id, features=wide, xy=far.xy[:3], encoder="uni 1", extractor="far")
    return replace(one, bags=(replace(near, extractor="near"), marked))


@pytest.fixture
def people(make_people):
    found, others = make_people(), make_people(seed=5)
    found.samples = [both_bags(a, b) for a, b in zip(found.samples, others.samples, strict=True)]
    return found


@pytest.fixture
def members(both):
    table, bags = both
    return [replace(bags, name=f"bag_ridge@{name}", extractor=name) for name in ("near", "far")] + [table]


def run(people, members, root):
    return cross_validate(*people.arguments, members, store=Store(root), sample_keys=people.keys)


def alone(sample: Sample, extractor: str) -> Sample:
    """The patient in a study of that extractor only."""
    return replace(sample, bags=tuple(replace(b, extractor="") for b in sample.bags if b.extractor == extractor))


def test_a_member_scores_as_if_its_extractor_were_the_only_one(tmp_path, people, members, both):
    together = run(people, members, tmp_path)
    mixed = list(people.samples)
    for name in ("near", "far"):
        people.samples = [alone(sample, name) for sample in mixed]
        single = run(people, [both[1]], tmp_path / name)
        np.testing.assert_array_equal(together.raw[f"bag_ridge@{name}"], single.raw["bag_ridge"])
    assert not np.allclose(together.raw["bag_ridge@near"], together.raw["bag_ridge@far"])
    assert list(together.logit) == ["bag_ridge@near", "bag_ridge@far", "ridge"]


def test_a_classifier_is_never_handed_bags_of_another_extractor(tmp_path, people, members):
    seen = []

    def watched(member):
        def create(options, seed):
            made = member.plugin.create(options, seed)
            fit, predict = made.fit, made.predict
            made.fit = lambda train, valid: (
                seen.extend((member.extractor, s) for s in train.samples),
                fit(train, valid),
            )
            made.predict = lambda samples: (seen.extend((member.extractor, s) for s in samples), predict(samples))[1]
            return made

        return replace(member, plugin=replace(member.plugin, create=create))

    run(people, [watched(m) for m in members], tmp_path)
    found = {(extractor, tuple(bag.extractor for bag in sample.bags)) for extractor, sample in seen}
    assert found == {("near", ("near",)), ("far", ("far",)), ("", ())}


def test_a_patient_without_the_bags_of_one_extractor_lacks_that_member_only(tmp_path, people, members):
    first = people.samples[0]
    people.samples[0] = replace(first, bags=first.bags[:1])
    found = run(people, members, tmp_path)
    lacking = [name for name, logit in found.logit.items() if np.isnan(logit[0, 0])]
    assert lacking == ["bag_ridge@far"]
    assert np.isnan(found.ensemble.strict[0, 0]) and np.isfinite(found.ensemble.available[0, 0])


def test_encoders_may_differ_between_extractors_and_not_within_one(tmp_path, people, members):
    first = people.samples[0]
    people.samples[0] = replace(first, bags=(first.bags[0], replace(first.bags[1], encoder="vit 1")))
    with pytest.raises(ConfigError, match="slides s0 and s1 have features of two encoders: vit 1 abc and uni 1 abc"):
        run(people, members, tmp_path)


@pytest.fixture
def bundle(tmp_path, people, members):
    experiment = run(people, members, tmp_path / "store")
    thresholds = {"ensemble": choose_thresholds(people.labels, experiment.ensemble.strict[0])}
    write_bundle(tmp_path / "bundle", experiment, facts={}, thresholds=thresholds, provenance={})
    plugins = {m.plugin.name: m.plugin for m in members}
    return tmp_path / "bundle", experiment, lambda name, folder: plugins[name].load(folder)


def test_a_bundle_gives_each_member_its_own_bags_again(bundle, people):
    folder, experiment, load = bundle
    loaded = load_bundle(folder, load)
    scores = loaded.score(people.samples)
    for name in ("bag_ridge@near", "bag_ridge@far", "ridge"):
        again = scores.by_fold[name][experiment.fold[0], np.arange(len(people.labels))]
        np.testing.assert_allclose(again, experiment.logit[name][0], rtol=1e-6)
    one = people.samples[0]
    assert [len(loaded.explain(f"bag_ridge@{e}", one).values) for e in ("near", "far")] == [4, 3]
    assert len(explain_out_of_fold(experiment, experiment.members[1], 0, one).values) == 3
    assert {name: e.encoder for name, e in loaded.inputs.encoders.items()} == {"near": "vit 1", "far": "uni 1"}
    wrong = replace(one, bags=(one.bags[0], replace(one.bags[1], transform_hash="other")))
    with pytest.raises(ConfigError, match="features come from uni 1 other, the model was fitted on uni 1 abc"):
        loaded.score([wrong])


def test_made_up_patients_for_a_bundle_have_a_bag_of_each_extractor(bundle, people):
    folder, _, load = bundle
    training = training_summary(people.samples, people.labels, people.strata, [])
    assert {key: len(training[key]["mean"]) for key in training if key.startswith("encoder")} == {
        "encoder@near": 2,
        "encoder@far": 3,
    }
    loaded = load_bundle(folder, load)
    scores = loaded.score(stand_ins(loaded.inputs, training))
    assert all(np.isfinite(logits).all() for logits in scores.members.values())


def test_only_bundles_of_several_extractors_have_the_newer_schema(tmp_path, bundle, make_people, both):
    folder, *_ = bundle
    several = json.loads((folder / "bundle.json").read_text())
    assert several["schema_version"] == 4
    assert [m.get("extractor") for m in several["members"]] == ["near", "far", None]
    one = make_people()
    experiment = run(one, both, tmp_path / "store")
    thresholds = {"ensemble": choose_thresholds(one.labels, experiment.ensemble.strict[0])}
    write_bundle(tmp_path / "single", experiment, facts={}, thresholds=thresholds, provenance={})
    single = json.loads((tmp_path / "single" / "bundle.json").read_text())
    assert single["schema_version"] == 3
    assert single["inputs"] == {"encoder": "vit 1", "transform_hash": "abc", "features": ["a", "b", "c"]}
    assert {key for m in single["members"] for key in m} == {
        "name", "plugin", "identity", "options", "consumes", "folds"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["members"][1].update(extractor="near"), "member bag_ridge@far is not named after its extractor"),
        (lambda c: c["members"][1].pop("extractor"), "member bag_ridge@far is not named after its extractor ''"),
        (lambda c: c["inputs"]["extractors"].pop("far"), "inputs.extractors are not those of the members"),
        (lambda c: c.update(schema_version=3), "schema_version 3 is not that of its members"),
    ],
    ids=["another", "none", "unknown", "older"],
)
def test_a_bundle_whose_members_and_extractors_disagree_is_refused(bundle, change, why):
    folder, _, load = bundle
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))
    (folder / SEAL).unlink()
    seal(folder)
    with pytest.raises(StoreError, match=why):
        load_bundle(folder, load)
    shutil.rmtree(folder)
