"""The fits of one classifier in one fold as a task for another machine, which reads samples from the store, by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.bags import read_bag, write_bag
from kras_plugins.contracts.classifier import ClassifierPlugin
from kras_plugins.data import Bag, Sample, of_extractor
from kras_plugins.errors import StoreError
from kras_plugins.learning.fits import FitTask, Learners, Member, make_fits
from kras_plugins.learning.plan import Fit
from kras_plugins.processing.embedding import BAG
from kras_plugins.processing.pipeline import digest_of
from kras_plugins.semantics.profile import from_json, to_json
from kras_plugins.store import Store, make_key
from kras_plugins.study.benches import address
from kras_plugins.urls import place

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.benches import FitBench

_SAMPLES = "samples.json"
_KEPT = 2
"""Cohorts whose samples a bench keeps open: their bags are mapped files."""


def stored_samples(cases: Sequence[Case], store: Store) -> str:
    """The digest of an artifact with the samples of all patients: profiles, the store keys of bags, no labels."""
    key = make_key("samples", of=[(case.patient.patient_id, case.key) for case in cases])

    def build(folder: Path) -> None:
        (folder / _SAMPLES).write_text(
            json.dumps([_facts(case, store) for case in cases]), encoding="utf-8", newline="\n"
        )

    store.make(key, build)
    return key.digest


def item_of(learners: Learners, task: FitTask, samples: str, store: Store) -> dict[str, Any]:
    """What another machine must know about a task. `samples`: digest of all patients'; `store`: where the fits go."""
    return {
        "samples": samples,
        "store": address(store),
        "labels": learners.labels.tolist(),
        "groups": list(learners.groups),
        "classifier": task.member.plugin.name,
        "member": task.member.name,
        "extractor": task.member.extractor,
        "identity": task.member.identity,
        "options": task.member.options.model_dump(mode="json"),
        "fits": [
            {
                "fit": f.fit.tolist(),
                "valid": f.valid.tolist(),
                "score": f.score.tolist(),
                "seed": f.seed,
                "note": f.note,
            }
            for f in task.fits
        ],
        "keep_model": task.keep_model,
        "where": task.where,
    }


def cost_of(task: FitTask) -> float:
    """The relative cost of a task: its training patients, of whom those with bags of tiles count more."""
    return sum(len(f.fit) for f in task.fits) * (100.0 if task.member.plugin.consumes is Bag else 1.0)


def fitted(bench: FitBench, item: Mapping[str, Any]) -> str:
    """Write the fits of a task into the store; returns the name of their folder there."""
    provided = bench.registry.find("classifier", item["classifier"])
    record = bench.registry.record("classifier", item["classifier"], ClassifierPlugin)
    task = FitTask(
        member=Member(
            name=item["member"],
            plugin=record,
            options=record.options.model_validate(item["options"]),
            identity=item["identity"],
            origin=provided.origin,
            extractor=item["extractor"],
        ),
        fits=tuple(
            Fit(
                fit=np.array(f["fit"], np.intp),
                valid=np.array(f["valid"], np.intp),
                score=np.array(f["score"], np.intp),
                seed=f["seed"],
                note=f["note"],
            )
            for f in item["fits"]
        ),
        keep_model=item["keep_model"],
        where=item["where"],
    )
    samples, keys = _samples(item["samples"], bench)
    learners = Learners(
        samples=samples,
        labels=np.array(item["labels"], np.int8),
        groups=item["groups"],
        keys=keys,
    )
    return make_fits(learners, task, Store(place(item["store"]))).name


def _samples(digest: str, bench: FitBench) -> tuple[list[Sample], list[str]]:
    """The samples of all patients with their keys, read once per bench, which has one task at a time."""
    if digest not in bench.kept:
        folder = bench.store.at(digest)
        if folder is None:
            raise StoreError(
                f"the store {bench.store.place} does not contain {digest[:12]}", "all machines must see the same store"
            )
        patients = json.loads((folder / _SAMPLES).read_text())
        while len(bench.kept) >= _KEPT:
            del bench.kept[next(iter(bench.kept))]
        bench.kept[digest] = [_sample(facts, bench.store) for facts in patients], [facts["key"] for facts in patients]
    return bench.kept[digest]


def _facts(case: Case, store: Store) -> dict[str, Any]:
    sample = case.sample
    known = {
        id(bag): r.artifacts[kind]
        for r in case.results
        for bag in r.bags
        if (kind := of_extractor("bag", bag.extractor)) in r.artifacts
    }
    return {
        "patient": sample.patient_id,
        "key": case.key,
        "profile": None if sample.profile is None else to_json(sample.profile),
        "bags": [[bag.slide_id, bag.extractor, known.get(id(bag)) or _stored(bag, store)] for bag in sample.bags],
    }


def _sample(facts: Mapping[str, Any], store: Store) -> Sample:
    bags = []
    for slide_id, extractor, digest in facts["bags"]:
        folder = store.at(digest)
        if folder is None:
            raise StoreError(f"the store {store.place} does not contain {digest[:12]}", "it was pruned: run again")
        bags.append(replace(read_bag(folder / BAG, slide_id), extractor=extractor))
    profile = None if facts["profile"] is None else from_json(facts["profile"], facts["patient"])
    return Sample(patient_id=facts["patient"], bags=tuple(bags), profile=profile)


def _stored(bag: Bag, store: Store) -> str:
    """The digest of a bag that was made elsewhere, after copying it into the store, where other machines find it."""
    key = make_key("bag", made_elsewhere=digest_of(bag))
    store.make(key, lambda folder: write_bag(folder / BAG, bag))
    return key.digest
