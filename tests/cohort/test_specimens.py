"""Specimens unlike those that models are made for are found by a closed list of words, and counted."""

from __future__ import annotations

import pytest

from kras_plugins.cohort.specimens import odd_specimens, specimen_kinds

FROZEN, CYTOLOGY, DECALCIFIED, PRETREATED = "frozen section", "cytology or cell block", "decalcified", "pretreated"
IN_WORDS = {
    FROZEN: """frozen; Frozen Section; snap-frozen; Snap Frozen; fresh frozen; FF; OCT; OCT-embedded; cryosection;
        cryopreserved; Gefrierschnitt; Schnellschnitt; coupe congelée; FFPE+frozen""",
    CYTOLOGY: """cytology; Cytology smear; cell block; cell-block; Cellblock; FNA; FNAB; fine needle aspirate;
        Fine-needle aspiration; EBUS-TBNA; EBUS; pleural effusion; BAL; bronchoalveolar lavage; brushing; Zytologie;
        Zellblock; Feinnadelpunktion; cytobloc; resection+cytology""",
    DECALCIFIED: "decalcified; Decalcified bone biopsy; decal; FFPE, decalcified; entkalkt; décalcifié",
    PRETREATED: """neoadjuvant; neo-adjuvant chemotherapy; pretreated; pre-treated; post-treatment resection;
        post-chemotherapy; resection after chemotherapy; after neoadjuvant therapy; induction chemotherapy;
        vorbehandelt; nach Chemotherapie; prétraité; previously treated""",
    "": """; FFPE; formalin-fixed paraffin-embedded; paraffin; resection; lobectomy; wedge resection; biopsy;
        core needle biopsy; transbronchial biopsy; Primary Tumor; primary; metastasis; Solid Tissue Normal; NA;
        not frozen; non-frozen; nonfrozen; undecalcified; not decalcified; no decalcification; no neoadjuvant therapy;
        without prior neoadjuvant therapy; neoadjuvant: none; treatment-naive; untreated; pre-treatment biopsy;
        no cytology; officinal; balanced; octagon""",
}
BY_COLUMN = [
    ("decalcified", "yes", DECALCIFIED), ("Decalcification", "EDTA", DECALCIFIED), ("decalcified", "no", ""),
    ("is_frozen", "1", FROZEN), ("frozen", "0", ""), ("cell block", "ja", CYTOLOGY), ("cytology", "false", ""),
    ("neoadjuvant", "1", PRETREATED), ("neoadjuvant_therapy", "carboplatin, pemetrexed", PRETREATED),
    ("history_of_neoadjuvant_treatment", "Yes, Radiation Prior to Resection", PRETREATED),
    ("history_neoadjuvant_treatment", "No", ""), ("prior_treatment", "Yes", PRETREATED), ("prior_therapy", "none", ""),
    ("Prior systemic therapy", "osimertinib", PRETREATED), ("pretreated", "no chemotherapy", ""),
    ("pretreated", "no+yes", PRETREATED), ("neoadjuvant", "", ""), ("neoadjuvant", "unknown", ""),
    ("smoking", "frozen", ""), ("fixation", "yes", ""), ("treatment", "chemotherapy", ""), ("age", "1", ""),
    ("prior_malignancy", "yes", ""), ("adjuvant_therapy", "yes", ""),
]  # fmt: skip


@pytest.mark.parametrize("column", ["specimen", "Sample Type", "preservation", "fixation", "procedure"])
@pytest.mark.parametrize("kind", IN_WORDS)
def test_what_is_said_in_words_is_found_in_every_column_on_specimens(column: str, kind: str) -> None:
    for word in IN_WORDS[kind].split(";"):
        assert (kind or None) in (specimen_kinds(column, word.strip()) or (None,)), word
        assert specimen_kinds(column, word.strip().upper()) == specimen_kinds(column, word.strip()), word
        assert bool(kind) == bool(specimen_kinds(column, word)), word


@pytest.mark.parametrize(("column", "value", "kind"), BY_COLUMN)
def test_a_column_that_asks_for_one_kind_is_answered_by_yes(column: str, value: str, kind: str) -> None:
    assert specimen_kinds(column, value) == ((kind,) if kind else ())


def test_each_patient_counts_once_a_kind_and_all_columns_that_say_it_are_named() -> None:
    found = odd_specimens({
        "specimen": ["frozen", "FFPE", "frozen", "FNA, decalcified"],
        "preservation": ["OCT", "paraffin", "", "Frozen"],
        "decalcified": ["no", "no", "", ""],
        "age": ["60", "70", "80", "90"],
    })  # fmt: skip
    said = {text.partition(":")[0]: text for text, _ in found}
    assert [who for _, who in found] == [[0, 2, 3], [3], [3]]
    assert list(said) == ["3 of 4 patients", "1 of 4 patients"]
    assert found[0][0].startswith("3 of 4 patients: frozen section (column specimen, preservation): freezing distorts")
    assert odd_specimens({}) == [] and odd_specimens({"specimen": ["FFPE"]}) == []
