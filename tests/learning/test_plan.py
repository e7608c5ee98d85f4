"""Who a fit stops early on: by the outer scheme, whole sites where sites are kept together."""

from __future__ import annotations

import numpy as np

from kras_plugins.learning.plan import Subjects, plan_fits


def subjects(sites: list[str]) -> Subjects:
    labels = (np.arange(len(sites)) % 3 == 0).astype(np.int8)
    return Subjects(labels=labels, strata=["LUAD"] * len(sites), sites=sites, in_scope=np.ones(len(sites), bool))


def plan(people: Subjects, scheme: str) -> tuple:
    n = len(people.labels)
    train, test = np.arange(n // 2), np.arange(n // 2, n)
    return plan_fits(people, np.ones(n, bool), train, test, np.arange(n // 2) // 3 % 3, 7, "rf", scheme)


def test_no_site_is_both_learned_from_and_stopped_on_where_sites_are_kept_together() -> None:
    people = subjects([f"site {i // 7}" for i in range(280)])
    for fit in plan(people, "site"):
        assert not fit.note
        sites = [{people.sites[i] for i in part} for part in (fit.fit, fit.valid)]
        assert sites[1]
        assert not sites[0] & sites[1]


def test_random_early_stopping_is_the_same_whatever_the_sites() -> None:
    one, many = (plan(subjects(sites), "random") for sites in (["a"] * 60, [str(i) for i in range(60)]))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a.valid, b.valid)


def test_where_no_whole_sites_can_be_held_out_patients_are_and_it_is_noted() -> None:
    people = subjects(["one hospital"] * 60)
    for fit in plan(people, "site"):
        assert "held out at random: no set of whole sites" in fit.note
        assert len(fit.valid)
