"""The fits of members of several extractors and of a baseline as tasks of JSON: they make what they make here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kras_plugins import Bag, ClassifierPlugin, Sample, TileSpec
from kras_plugins.host.config import Config
from kras_plugins.host.manager import discover
from kras_plugins.learning.fits import FitTask, Learners, Member, make_fits
from kras_plugins.learning.plan import Fit
from kras_plugins.store import Store
from kras_plugins.study.benches import FitBench
from kras_plugins.study.fit_tasks import fitted, item_of, stored_samples

N = 12


def bag(patient: int, extractor: str, wide: int, labels: np.ndarray) -> Bag:
    rng = np.random.default_rng([patient, wide])
    features = rng.normal(labels[patient], 1, (5, wide)).astype(np.float32)
    xy = np.arange(10, dtype=np.int32).reshape(5, 2)
    return Bag(
        slide_id=f"s{patient}", features=features, xy=xy, tile_spec=TileSpec(px=8, mpp=0.5), size=(8.0, 8.0),
        encoder=f"e{wide}", transform_hash="t", extractor=extractor,
    )  # fmt: skip


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.mark.parametrize("name", ["meanmax@near", "meanmax_only@far"])
def test_a_task_of_one_extractors_member_makes_the_same_files_from_json(tmp_path: Path, registry, name: str) -> None:
    labels = np.arange(N) % 2
    samples = [Sample(patient_id=f"p{i}", bags=(bag(i, "near", 3, labels), bag(i, "far", 4, labels))) for i in range(N)]
    cases = [
        SimpleNamespace(
            patient=SimpleNamespace(patient_id=s.patient_id), key=f"k{i}", sample=s,
            results=(SimpleNamespace(bags=s.bags, artifacts={}),),
        )
        for i, s in enumerate(samples)
    ]  # fmt: skip
    record = registry.record("classifier", "meanmax", ClassifierPlugin)
    provided = registry.find("classifier", "meanmax")
    member = Member(
        name=name, plugin=record, options=record.options(), identity=f"{provided.id} {provided.version}",
        origin=provided.origin, extractor=name.split("@")[1],
    )  # fmt: skip
    everyone = np.arange(N)
    fit = Fit(fit=everyone[:6], valid=everyone[6:8], score=everyone[8:], seed=3)
    task = FitTask(member=member, fits=(fit,), keep_model=True, where="repeat 1, fold 1")
    learners = Learners(
        samples=samples, labels=labels.astype(np.int8), groups=[s.patient_id for s in samples],
        keys=[c.key for c in cases],
    )  # fmt: skip
    here = make_fits(learners, task, Store(tmp_path / "here"))

    store = Store(tmp_path / "shared")
    item = json.loads(json.dumps(item_of(learners, task, stored_samples(cases, store), store)))
    named = fitted(FitBench(registry=registry, config=Config({}), store=store), item)

    assert named == here.name
    (there,) = store.root.rglob(named)
    files = sorted(p.relative_to(here) for p in here.rglob("*") if p.is_file())
    assert Path("0.npy") in files and any(p.parts[0] == "model" for p in files)
    for file in files:
        assert (there / file).read_bytes() == (here / file).read_bytes(), file
    other = replace(task, member=replace(member, extractor="near" if member.extractor == "far" else "far"))
    assert make_fits(learners, other, Store(tmp_path / "here")).name != here.name
