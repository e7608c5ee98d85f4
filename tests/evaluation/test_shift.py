"""A cohort unlike training is reported, one like it is not; a bundle's scope; covariates from another table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kras_plugins import Sample, SemanticProfile
from kras_plugins.data import Bag, TileSpec
from kras_plugins.evaluation.scope import gate_note, out_of_scope, scope_kind, unlike_note
from kras_plugins.evaluation.shift import external_block, identity_rows, internal_results, shift_rows, training_summary

NAMES = tuple(f"f{i}" for i in range(20))


def sample(rng, move=0.0, dims=32):
    spec = TileSpec(px=224, mpp=0.5)
    bag = Bag(
        slide_id="s", features=(rng.normal(size=(30, dims)) * 3 + rng.normal(size=dims) + move).astype(np.float32),
        xy=np.zeros((30, 2), np.int32), size=(224.0, 224.0), tile_spec=spec, encoder="vit", transform_hash="t",
    )  # fmt: skip
    values = np.where(rng.random(20) < 0.1, np.nan, rng.normal(size=20) + move)
    return Sample(
        patient_id="p", bags=(bag,), profile=SemanticProfile(id="p", names=NAMES, values=values, valid={}, source="t")
    )


def cohort(seed, n=80, *, rate=0.3, luad=0.6, mpp=0.5, stain=0.3, move=0.0, missing=()):
    rng = np.random.default_rng(seed)
    return training_summary(
        [sample(rng, move) for _ in range(n)], np.arange(n) < rate * n,
        ["LUAD" if i < luad * n else "LUSC" for i in range(n)], (mpp + 0.001 * rng.normal(size=n)).tolist(),
        [(stain, 2 * stain, stain) for _ in range(n)], [[f"{i:016x}ab"] for i in range(1000 * seed, 1000 * seed + n)],
    )  # fmt: skip


def warned(internal, external):
    return {r["what"].split(" (")[0] for r in shift_rows(internal, external) if r["warning"]}


def test_a_summary_is_json_and_a_cohort_like_training_gives_no_warning():
    internal = json.loads(json.dumps(cohort(0), allow_nan=False))
    assert [warned(internal, cohort(seed, n=n)) for seed, n in ((1, 80), (2, 22), (3, 300))] == [set()] * 3


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rate": 0.05}, {"prevalence"}), ({"luad": 0.95}, {"histology"}), ({"mpp": 0.25}, {"mpp"}),
        ({"stain": 0.4}, {"stain, red", "stain, green", "stain, blue"}), ({"move": 3.0}, {"features", "encoder"}),
    ],
)  # fmt: skip
def test_each_difference_is_told_alone_with_numbers_and_the_limit(change, what):
    internal, external = cohort(0), cohort(1, **change)
    assert warned(internal, external) == what
    for row in shift_rows(internal, external):
        if row["warning"]:
            assert "warned" in row["warning"]
            assert row["external"] - row["internal"] == pytest.approx(row["difference"])


def test_a_handful_of_patients_is_not_called_different_by_chance():
    internal = cohort(0, n=200)
    found = [warned(internal, cohort(seed, n=6)) for seed in range(1, 30)]
    assert np.mean(["features" in w for w in found]) < 0.15


def test_patients_who_were_in_training_are_noticed():
    internal = cohort(1)
    (row,) = [r for r in shift_rows(internal, internal) if r["what"] == "patients seen in training"]
    assert row["external"] == 80
    assert "too good" in row["warning"]
    again = {**cohort(2), "content": [["new", internal["content"][3][0]], ["other"], *internal["content"][:2]]}
    (row,) = [r for r in shift_rows(internal, again) if r["what"] == "patients seen in training"]
    assert row["external"] == 3  # one slide of several is enough


def test_what_made_the_inputs_is_compared():
    trained = {"extractor": {"name": "vit", "version": "1"}, "precision": "fp32"}
    same, other = identity_rows(trained, trained), identity_rows(trained, {**trained, "precision": "fp16"})
    assert not any(r["warning"] for r in same)
    assert [r["warning"] for r in other if r["warning"]] == ["precision is fp16 here, fp32 in training"]


def test_internal_stands_beside_external_and_fold_means_beside_ensembled_folds():
    def entry(value, fold_mean):
        return {"auroc": {"value": value, "low": 0.5, "high": 0.9, "fold_mean": fold_mean}, "n": 9, "n_positive": 3}

    run = {"models": {"ensemble": entry(0.7, 0.7)}, "luad_only": {}}
    kept = internal_results(run)
    assert kept["models"]["ensemble"] == {"value": 0.7, "low": 0.5, "high": 0.9, "n": 9, "n_positive": 3}
    told = {"internal": kept["models"], "internal_luad_only": {}, "shift": []}
    block = external_block(told, {"ensemble": entry(0.65, 0.61), "prevalence": entry(0.5, float("nan"))})
    assert block["internal"]["ensemble"]["value"] == 0.7
    assert block["fold_mean"] == {"ensemble": {"value": 0.61}}
    assert block["fold_ensembled"]["ensemble"]["value"] == 0.65


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("LUAD", ""), ("", ""), ("NSCLC", ""), ("non-small cell carcinoma", ""), ("Non small cell", ""),
        ("adenosquamous carcinoma", ""), ("sarcomatoid carcinoma", ""), ("large cell carcinoma", ""),
        ("LUSC", "squamous"), ("Squamous cell carcinoma", "squamous"), ("small cell carcinoma", "not NSCLC"),
        ("SCLC", "not NSCLC"), ("carcinoid", "not NSCLC"), ("metastasis of colon cancer", "not NSCLC"),
        ("non-squamous NSCLC", ""), ("nonsquamous", ""), ("nonsmall cell", ""),
    ],
)  # fmt: skip
def test_squamous_and_what_is_not_nsclc_is_out_of_scope(word, reason):
    found = out_of_scope(word, None)
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize(("area", "inside"), [(0.09, False), (0.1, True), (np.nan, True)])
def test_too_little_cancer_epithelium_is_out_of_scope(area, inside):
    profile = SemanticProfile(id="p", names=("x", "area_ce"), values=np.array([9.0, area]), valid={}, source="t")
    found = out_of_scope("LUAD", profile)
    assert (found == "") == inside
    assert inside or "0.09 mm² of cancer epithelium, less than 0.1" in found
    assert out_of_scope("LUAD", SemanticProfile(id="p", names=("x",), values=np.zeros(1), valid={}, source="t")) == ""


@pytest.mark.parametrize(
    ("unlike", "epithelium", "reason"),
    [
        (None, 0.0, "0 mm² of cancer epithelium"),
        (0.2, 0.0, "0 mm² of cancer epithelium"),
        (0.62, 0.0, "out of scope: tissue unlike training (62%)"),
        (0.62, 0.5, ""),  # another slide of the patient has enough
        (0.62, np.nan, ""),
    ],
)
def test_tissue_unlike_training_is_why_there_is_too_little_cancer(unlike, epithelium, reason):
    found = out_of_scope("LUAD", replace(areas(epithelium, 4.0), unlike_share=unlike))
    assert reason in found and bool(found) == bool(reason)
    if "unlike" in reason:
        assert scope_kind(found) == "tissue unlike training"


def areas(epithelium=None, tissue=None):
    """A profile with these areas in mm²."""
    known = {k: v for k, v in {"x": 9.0, "area_tissue": tissue, "area_ce": epithelium}.items() if v is not None}
    return SemanticProfile(id="p", names=tuple(known), values=np.array([*known.values()]), valid={}, source="t")


@pytest.mark.parametrize(
    ("epithelium", "tissue", "reason"),
    [
        (21.0, 300.0, "7.00% of the tissue is cancer epithelium, less than 10%"),  # as much as is called on skin
        (0.2, 2.0, ""), (0.5, 1.0, ""), (0.05, 0.1, "0.05 mm²"), (0.05, 10.0, "0.05 mm²"),
        (21.0, np.nan, ""), (21.0, 0.0, ""), (np.nan, 300.0, ""), (None, 300.0, ""), (21.0, None, ""),
    ],
)  # fmt: skip
def test_too_small_a_share_of_cancer_epithelium_is_out_of_scope_however_large_the_slide(epithelium, tissue, reason):
    found = out_of_scope("LUAD", areas(epithelium, tissue))
    assert bool(found) == bool(reason) and reason in found
    assert "is squamous" in out_of_scope("LUSC", areas(epithelium, tissue))


def test_patients_whose_tissue_the_profiler_does_not_know_are_counted_with_a_remedy():
    shares = [None, 0.0, 0.25, 0.26, 0.9]
    profiles = [None, *(replace(areas(1.0, 3.0), unlike_share=share) for share in shares)]
    note = unlike_note(profiles)
    assert note.startswith("Of 2 of 6 patients more than 25%") and "max_unlike=1" in note
    assert unlike_note(profiles[:4]) == ""


def test_what_decided_the_scope_is_said_with_how_many_have_it():
    assert gate_note([None, areas(), areas(np.nan, 3.0)]).startswith("histology only: no profiler gave the area")
    assert gate_note([areas(1.0, 3.0)] * 2) == "histology, area of cancer epithelium and its share of the tissue"
    assert gate_note([areas(1.0)]) == "histology, area of cancer epithelium, its share of the tissue unknown"
    assert gate_note([areas(1.0, 3.0), areas(1.0), None]) == (
        "histology, area of cancer epithelium (known of 2 of 3 patients) and its share of the tissue (known of 1 of 3 "
        "patients)"
    )
