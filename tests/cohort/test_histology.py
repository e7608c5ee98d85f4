"""Stated histologies become one of a closed set: negations, sites of metastases and codes are understood."""

from __future__ import annotations

import pytest

from kras_plugins.cohort.histology import HISTOLOGIES, is_understood, parse_histology, word_map

STATED = {
    "adenocarcinoma": """
        LUAD; TCGA-LUAD; luad_tcga; adenocarcinoma; Adenocarcinoma, NOS; Lung Adenocarcinoma, mucinous; ADC; AD;
        metastatic lung adenocarcinoma; adenocarcinoma, metastatic to lymph node; adenocarcinoma, metastatic to brain;
        liver metastasis of pulmonary adenocarcinoma; adenocarcinoma with neuroendocrine differentiation;
        adenocarcinoma with focal neuroendocrine features; Bronchioloalveolar carcinoma; bronchiolo-alveolar carcinoma;
        lepidic; acinar predominant; Papillary adenocarcinoma; NSCLC, favor adenocarcinoma;
        non-small cell carcinoma, adenocarcinoma; adenocarcinoma, squamous excluded; adenocarcinoma (p40 negative);
        Invasive mucinous adenocarcinoma; 8140/3; 8140; M-8140/3; 8253/3; 8550/3; 8140/6;
        Minimally invasive adenocarcinoma; adenoca; Adenokarzinom; adénocarcinome;
        adenocarcinoma, no small cell component; adenocarcinoma without evidence of lymphoma;
        Adenokarzinom, kein Plattenepithelkarzinom; Kein Anhalt für Plattenepithelkarzinom, Adenokarzinom;
        Adenokarzinom ohne plattenepitheliale Differenzierung; Adénocarcinome sans composante malpighienne;
        Adenokarzinom mit neuroendokriner Differenzierung; Adénocarcinome avec différenciation neuroendocrine;
        Adenokarzinom der Lunge; Adenocarcinoma (prior breast carcinoma); adenocarcinoma, history of colon cancer;
        metastatic adenocarcinoma of the liver; Mucinous (Colloid) Carcinoma
    """,
    "squamous": """
        LUSC; TCGA-LUSC; squamous; Squamous cell carcinoma; SCC; SqCC; SQ; sq; epidermoid carcinoma; 8070/3; 8071/3;
        8083/3; Plattenepithelkarzinom;
        metastatic squamous cell carcinoma; squamous cell carcinoma, metastatic to liver;
        NSCLC, squamous; non-small cell lung cancer - squamous; squamous, adenocarcinoma excluded;
        Plattenepithelkarzinom, Adenokarzinom ausgeschlossen; nicht verhornendes Plattenepithelkarzinom;
        carcinome malpighien; Carcinome épidermoïde
    """,
    "adenosquamous": """
        adenosquamous carcinoma; adeno squamous; adeno-squamous; 8560/3; squamous and adenocarcinoma;
        Adenosquamöses Karzinom
    """,
    "NSCLC, NOS": """
        NSCLC; NSCLC NOS; non-small cell carcinoma; Non small cell; nonsmall cell; non - small cell; non – small cell;
        NSCLC, not squamous; p40 negative, squamous excluded; non-squamous NSCLC; nonsquamous; non squamous;
        no squamous differentiation; 8046/3; NSCLC without neuroendocrine features; squamous component not identified;
        Nicht-Plattenepithel; Nichtplattenepithelkarzinom; nicht-kleinzelliges Karzinom; non malpighien;
        Nichtkleinzelliges Lungenkarzinom; Carcinome bronchique non à petites cellules; CBNPC;
        adenocarcinoma vs squamous cell carcinoma; Plattenepithelkarzinom oder Adenokarzinom
    """,
    "large cell": "large cell carcinoma; Large-cell; LCC; 8012/3; Großzelliges Karzinom; carcinome à grandes cellules",
    "sarcomatoid": """
        sarcomatoid carcinoma; pleomorphic carcinoma; carcinosarcoma; spindle cell carcinoma; 8033/3;
        sarkomatoides Karzinom
    """,
    "not NSCLC": """
        small cell carcinoma; SCLC; small-cell lung cancer; carcinoid; atypical carcinoid tumour; LCNEC;
        large cell neuroendocrine carcinoma; combined small cell carcinoma and adenocarcinoma; mesothelioma; melanoma;
        metastasis of colon cancer; metastatic colorectal adenocarcinoma; metastatic breast carcinoma;
        renal cell carcinoma; lymphoma; thymoma; Adenoid cystic carcinoma; mucoepidermoid carcinoma;
        normal lung; benign; no tumor; 8041/3;
        8240/3; 8013/3; 9050/3; 8500/3; 8140/0; sarcoma;
        Kleinzelliges Karzinom; kleinzelliges Bronchialkarzinom; Carcinome à petites cellules; Typisches Karzinoid;
        Großzelliges neuroendokrines Karzinom; tumeur carcinoïde; carcinome muco-épidermoïde;
        Adenocarcinoma of colon, metastatic to lung; Metastase eines kolorektalen Adenokarzinoms;
        Adenokarzinom des Kolons
    """,
    "unknown": """; unknown; NA; no evidence of lymphoma; carcinoma; lung cancer; carcinoma, NOS; 8010/3; other; xyz;
        poorly differentiated carcinoma
    """,
}  # fmt: skip
TABLE = [
    (word.strip(), meaning)
    for meaning, words in STATED.items()
    for word in words.split(";")
    if word.strip() or meaning == "unknown"
]


def test_the_table_is_long_enough_to_mean_something():
    assert len({word for word, _ in TABLE}) >= 60


@pytest.mark.parametrize(("word", "meaning"), TABLE)
def test_a_stated_histology_has_one_meaning(word, meaning):
    assert parse_histology(word) == meaning
    assert parse_histology(f"  {word.upper()} ") == meaning


def test_words_that_mean_nothing_to_us_are_told_from_what_is_not_stated():
    assert is_understood("") and is_understood("unknown") and is_understood("8010/3") and is_understood("LUAD")
    assert not is_understood("xyz") and not is_understood("lung cancer")


@pytest.mark.parametrize("name", HISTOLOGIES)
def test_every_class_is_understood_by_its_own_name(name):
    assert parse_histology(name) == name


def test_a_map_of_words_heeds_neither_case_nor_blanks_around_them():
    assert word_map({" Typ A ": "adenocarcinoma", "NS": "not NSCLC"}) == {"typ a": "adenocarcinoma", "ns": "not NSCLC"}


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"typ a": "adeno"}, "'typ a' is 'adeno', which is not a histology; write one of: \"adenocarcinoma\", "),
        ({"typ a": {"b": "squamous"}}, "which is not a histology"),
        ({"typ a": "squamous", "Typ A": "adenocarcinoma"}, "'typ a' is both 'squamous' and 'adenocarcinoma'"),
        ({" ": "squamous"}, "a word is empty"),
    ],
)
def test_a_map_of_words_that_cannot_be_meant_is_refused(given, cause):
    with pytest.raises(ValueError, match=cause) as e:
        word_map(given)
    assert "; " in str(e.value)
