"""Targets beyond G12C: a driver is in one class, a patient may be in several, and what is unknown is not negative."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from kras_plugins.cohort.labels import LABEL_COLUMNS, Label, Policy, label_patients, totals
from kras_plugins.cohort.mutations import Mutations, read_mutations
from kras_plugins.cohort.pairing import without_slides
from kras_plugins.cohort.table import COLUMNS
from kras_plugins.cohort.targets import CLASSES, TARGETS
from kras_plugins.cohort.variants import PROTEIN, driver_class, is_driver
from kras_plugins.evaluation.columns import confounding

A = "TCGA-05-4244"


def table(folder: Path, *calls: str) -> Mutations:
    """Calls of one patient: a protein change, perhaps with a sample (`G12C@01B`) or share of reads (`G12C 0.02`)."""
    rows = ["Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp_Short\tVAF"]
    for text in calls:
        change, _, vaf = text.partition(" ")
        change, _, sample = change.partition("@")
        gene = "TP53" if change == "none" else "KRAS"
        rows.append(f"{gene}\t{A}-{sample or '01A'}\tp.{change}\t{vaf}")
    (folder / "calls.tsv").write_text("\n".join(rows) + "\n")
    return read_mutations([str(folder / "calls.tsv")])


def only(mutations: Mutations, policy: Policy | None = None) -> Label:
    (label,) = label_patients(mutations, policy)
    return label


def positive(label: Label) -> str:
    """The classes of a patient whose every class is known."""
    assert None not in label.classes.values()
    return " ".join(name for name, answer in label.classes.items() if answer)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("G12C", "g12c"), ("G12D", "g12d"), ("G12V", "g12v"), ("G12A", "other_kras"), ("G12F", "other_kras"),
        ("G12_G13insG", "other_kras"), ("G12dup", "other_kras"), ("G13D", "g13"), ("G13C", "g13"), ("G13dup", "g13"),
        ("G13_V14delinsDI", "other_kras"), ("Q61H", "q61"), ("Q61_E62delinsHK", "other_kras"), ("A146T", "other_kras"),
        ("L19F", "other_kras"), ("G13*", ""), ("Q61fs*3", ""), ("E3K", ""), ("=", ""), ("", ""),
    ],
)  # fmt: skip
def test_each_driver_has_its_class(change: str, name: str) -> None:
    assert driver_class(change) == name


def test_drivers_and_no_others_are_in_exactly_one_class() -> None:
    changes = [f"{old}{i}{new}" for i, old in enumerate(PROTEIN, 1) for new in "ACDEFGHIKLMNPQRSTVWY*" if new != old]
    assert {c for c in changes if driver_class(c) in CLASSES} == {c for c in changes if is_driver(c)}
    assert {c for c in changes if driver_class(c) == "g13"} == {f"G13{new}" for new in "ACDEFHIKLMNPQRSTVWY"}


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        (["none"], ""),
        (["G12D", "Q61H"], "g12d q61"),
        (["G12C", "G13D"], "g12c g13"),
        (["G12V", "K88*"], "g12v"),
        (["G12A", "A146T"], "other_kras"),
        (["G13D", "G13C"], "g13"),
        (["G12A", "G12S"], "other_kras"),  # read together p.G12T, another driver as well
        (["E3K"], ""),
        (["G13*"], ""),
    ],
)
def test_patients_are_positive_for_each_class_of_theirs(tmp_path: Path, calls: list[str], found: str) -> None:
    label = only(table(tmp_path, *calls))
    assert positive(label) == found
    assert label.driver == int(bool(found))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(["G12C", "G12D", "G12V"], 2)))
def test_two_of_them_at_codon_12_may_be_one_other_change(tmp_path: Path, one: str, other: str) -> None:
    found = table(tmp_path, one, other, "Q61H")
    unknown = {one.lower(): None, other.lower(): None, "other_kras": None}
    negative = dict.fromkeys(CLASSES, 0) | {"q61": 1}
    assert only(found).classes == negative | unknown
    assert only(found, Policy(ambiguous="positive")).classes == negative | {one.lower(): 1, other.lower(): 1}
    assert only(found, Policy(ambiguous="negative")).classes == negative | {"other_kras": 1}
    assert (only(found).category == "G12C ambiguous") == (one == "G12C")


def test_beside_another_change_at_codon_12_it_is_unknown_and_the_patient_has_another_driver_either_way(
    tmp_path: Path,
) -> None:
    label = only(table(tmp_path, "G12V", "G12S"))
    assert label.classes == dict.fromkeys(CLASSES, 0) | {"g12v": None, "other_kras": 1}
    assert (label.category, label.g12c) == ("other driver", 0)
    assert label.flags[0].startswith("second codon-12 call: p.G12S+p.G12V")


def test_weak_calls_and_samples_that_disagree_are_unknown_where_they_matter_and_kept_for_other_targets(
    tmp_path: Path,
) -> None:
    weak = only(table(tmp_path, "G12C 0.02"), Policy(min_vaf=0.05))
    assert weak.classes == dict.fromkeys(CLASSES, 0) | {"g12c": None}
    differ = only(table(tmp_path, "G12C", "none@01B"))
    assert (differ.classes, differ.driver) == (dict.fromkeys(CLASSES, 0) | {"g12c": None}, None)
    assert [row["g12d"] for row in without_slides([differ])] == [0]
    assert only(table(tmp_path, "?")).classes == dict.fromkeys(CLASSES)
    assert without_slides([only(table(tmp_path, "?"))]) == []


def test_a_variant_of_unknown_significance_is_no_other_driver_or_unknown(tmp_path: Path) -> None:
    found = table(tmp_path, "E3K")
    assert only(found).other_kras == 0
    assert only(found, Policy(vus="exclude")).classes == dict.fromkeys(CLASSES, 0) | {"other_kras": None}


def test_all_classes_are_columns_that_reach_neither_reader_nor_model() -> None:
    assert set(CLASSES) < set(LABEL_COLUMNS) & set(COLUMNS) & set(TARGETS)
    assert not any(map(confounding, TARGETS))
    assert list(Label(patient_id="A").row()) == list(LABEL_COLUMNS)


def test_the_pancancer_table_gives_the_classes_that_counting_its_rows_gives(shared_data: Path) -> None:
    file = shared_data / "tcga" / "ras_mutations.tsv.gz"
    counted = totals(label_patients(read_mutations([str(file)], diseases=["LUAD", "LUSC"])))
    changes = defaultdict(set)
    with gzip.open(file, "rt") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if row["DISEASE"] in ("LUAD", "LUSC") and row["Hugo_Symbol"] == "KRAS" and row["HGVSp"] not in ("", "."):
                changes[row["PATIENT_BARCODE"]].add(row["HGVSp"].removeprefix("p."))
    twelve = {p: {c for c in some if c.startswith("Gly12")} for p, some in changes.items()}
    others = ("Gly12Ala", "Gly12Ser", "Leu19Phe", "Val14Ile", "Ala146Pro", "Asp33Glu")
    expected = {
        "g12d": sum(some == {"Gly12Asp"} for some in twelve.values()),
        "g12v": sum(some == {"Gly12Val"} for some in twelve.values()),
        "g13": sum(any(c.startswith("Gly13") for c in some) for some in changes.values()),
        "q61": sum(any(c.startswith("Gln61") for c in some) for some in changes.values()),
        "other_kras": sum(any(c in others for c in some) for some in changes.values()),
    }
    assert {name: counted[name] for name in expected} == expected
    assert expected == {"g12d": 18, "g12v": 35, "g13": 10, "q61": 4, "other_kras": 27}
    # No patient here has two classes, so they add up to the drivers.
    assert sum(expected.values()) + counted["g12c"] + counted["g12c_ambiguous"] == counted["kras_driver"]
