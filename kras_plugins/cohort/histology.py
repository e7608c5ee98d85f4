"""What a stated histology means: one of a closed set, from words, ICD-O-3 codes and TCGA projects."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, get_args

from kras_plugins.cohort.numbers import UNKNOWN

Histology = Literal[
    "adenocarcinoma",
    "squamous",
    "adenosquamous",
    "NSCLC, NOS",
    "large cell",
    "sarcomatoid",
    "not NSCLC",
    "unknown",
]
"""`NSCLC, NOS`: no type is stated, or only which one it is not. `unknown`: nothing recognized is stated."""
HISTOLOGIES: tuple[Histology, ...] = get_args(Histology)

WordMap = Mapping[str, Histology]
"""What a user's words mean, by the word in lower case and without surrounding blanks (`as_word`)."""

_FOREIGN = tuple(
    (re.compile(said), english)
    for said, english in (
        (r"\bnicht[- ]*kleinzellig\w*|\bnon a petites cellules|\bcbnpc\b", "non-small cell"),
        (r"\bkleinzellig\w*|\ba petites cellules|\bcbpc\b", "small cell"),
        (r"\bgrosszellig\w*|\ba grandes cellules", "large cell"),
        (r"mu[ck]o-?epidermoid\w*", "mucoepidermoid"),
        (r"\bnicht(?=plattenepithel)", "no "),
        (r"\bplattenepithel\w*|\bepidermoid(?:es?)?\b|\bmalpighien(?:ne)?s?\b", "squamous"),
        (r"karzin", "carcin"),
        (r"carcinom(?:e|s|es|en)?\b", "carcinoma"),
        (r"carcinoide?s?\b", "carcinoid"),
        (r"sarkoma?", "sarcoma"),
        (r"\bdifferenciation neuroendocrine", "neuroendocrine differentiation"),
        (r"neuroendokrin\w*", "neuroendocrine"),
        (r"\bdifferen(?:zierung|ciation)", "differentiation"),
        (r"\b(?:mit|avec) ", "with "),
        (
            r"\b(?:nicht|kein\w*|ohne|sans|pas de|absence de)[- ]+"
            r"(?:(?:nachweis|anhalt|hinweis|anteile?|composante|differentiation|von|fur|auf|eine\w*) )*",
            "no ",
        ),
        (r"\bausgeschlossen|\bexclue?s?\b", "excluded"),
    )
)
"""German and French for the English words of the patterns below; umlauts and accents are already removed."""

_NO = r"(?:non|not|no|without|excl(?:uding|uded)?|exclude|negative for|absence of|rule[sd]? out|r/o|other than)"
_FILLER = r"(?:an?|any|of|definite|clear|evidence|features?|signs?|component|the)"
_GONE = r"(?:(?:is|was|were|has been) )?(?:excluded|negative|absent|ruled out|not (?:seen|identified|present|found))"
_TYPE = (
    r"(?:squamous(?:[- ]cell)?(?: carcinoma| differentiation| component| features)?|scc|lusc|adenocarcinoma|luad"
    r"|adenosquamous(?: carcinoma)?|large[- ]cell(?: carcinoma)?|neuroendocrine(?: \w+)?|carcinoid|lymphoma"
    r"|mesothelioma|melanoma|sarcoma(?:toid)?(?: \w+)?|small[- ]cell(?: carcinoma| component)?)"
)
_NON_SMALL = re.compile(r"\bnon[- ]*small(?:[- ]*cells?)?\b|\bnsclc\b|\bnscc\b")
_NEGATED = re.compile(rf"\b{_NO}[- ]+(?:{_FILLER} )*{_TYPE}|\bnon{_TYPE}|\b{_TYPE} (?:{_FILLER} )*{_GONE}")
_BESIDE = re.compile(
    r"\b(?:with|showing|and) (?:\w+ )?neuroendocrine (?:differentiation|features?|morphology|marker\w*|expression)"
)
"""A differentiation of another tumor; it changes no type (WHO Classification of Thoracic Tumours, 5th ed., 2021)."""

_ORGAN = (
    r"(?:[ck]olo(?:re[ck]tal\w*|ns?|nic)|rectal|rectum|breast|mammary|ductal|renal|clear cell|kidney|prostat\w*"
    r"|pan[ck]rea\w+|gastric|stomach|o?esophag\w+|ovar\w+|endometri\w+|cervi(?:cal|x)|thyroid|urothelial|bladder|hepatocellular"
    r"|hepatic|liver|cholangio\w*|thymic)"
)
_ELSEWHERE = re.compile(
    rf"\b{_ORGAN}[- ]+(?:cell[- ]+)?(?:adeno|cholangio)?(?:carcinoma|cancer)|\bcholangiocarcinoma"
    rf"|(?:carcinoma|cancer)s? (?:of|des|der|du) (?:the )?(?!liver|hepatic|kidney|renal){_ORGAN}\b"
)
"""Another organ's tumor. A site of metastasis (`metastatic to liver`) does not make it a tumor of that organ; what is
found in the liver or a kidney (`adenocarcinoma of the liver`) may come from the lung."""
_BEFORE = re.compile(rf"\b(?:prior|previous|(?:history|hx) of|h/o) (?:{_ELSEWHERE.pattern})")
"""A tumor that the patient had earlier, not the one on the slide."""
_UNDECIDED = re.compile(r"\b(?:vs|versus|or|oder|ou)\b")
_NOT_NSCLC = re.compile(
    r"\bsmall[- ]*cells?\b|\bsclc\b|carcinoid|neuroendocrine|\blcnec\b|mesothelioma|lymphoma|sarcoma(?!toid)|thymoma"
    r"|melanoma|hamartoma|adenoid[- ]*cystic|mucoepidermoid|\bnut (?:midline )?carcinoma|\bgerm cell|plasmacytoma"
)
_NO_TUMOR = re.compile(r"\bnormal\b|\bbenign\b|\bno (?:tumou?r|malignancy|cancer)\b|\badenoma\b|\bgranuloma")
_CLASSES: tuple[tuple[Histology, re.Pattern[str]], ...] = (
    ("adenosquamous", re.compile(r"adeno-?\s*squam")),
    ("sarcomatoid", re.compile(r"sarcomatoid|pleomorphic|carcinosarcoma|spindle[- ]cell|giant[- ]cell|blastoma")),
    (
        "adenocarcinoma",
        re.compile(
            r"\b(?:tcga[- ]?)?luad\b|\b(?:ad|adc|ac|adca|adeno|ima|bac)\b|adeno-?[ck]a|adenoca|bronchi?olo-?\s*alveolar"
            r"|lepidic|acinar|papillary|mucinous|colloid"
        ),
    ),
    (
        "squamous",
        re.compile(r"squam|\b(?:tcga[- ]?)?lusc\b|\bl?scc\b|\bsq-?cc\b|\bsqc\b|\bsq\b"),
    ),
    ("large cell", re.compile(r"\blarge[- ]*cells?\b|\blcc\b|\blclc\b")),
    ("NSCLC, NOS", _NON_SMALL),
)
_ICD_O = re.compile(r"\b(?:m-?)?(8\d{3}|9\d{3})\s*/\s*(\d)\b|^(?:m-?)?(8\d{3}|9\d{3})$")
_CODES: tuple[tuple[Histology, frozenset[int]], ...] = (
    ("NSCLC, NOS", frozenset({8046})),
    ("unknown", frozenset({8000, 8001, 8010, 8011, 8020, 8021})),
    ("large cell", frozenset({8012, 8014, 8082, 8123})),
    ("sarcomatoid", frozenset({8022, 8030, 8031, 8032, 8033, 8972, 8980})),
    ("squamous", frozenset({8050, 8051, 8052, 8083, 8084, *range(8070, 8079)})),
    ("adenosquamous", frozenset({8560})),
    (
        "adenocarcinoma",
        frozenset(
            {8140, 8141, 8143, 8144, 8147, 8201, 8211, 8230, 8260, 8265, 8310, 8323, 8333, 8490, 8530, 8550, 8551}
            | {8570, 8571, 8572, 8573, 8574, 8575, 8576, *range(8250, 8258), *range(8470, 8483)}
        ),
    ),
)
"""Morphologies of the lung's carcinomas, ICD-O-3.2 (WHO 2019) with SEER's site and histology list for C34."""


def parse_histology(stated: str | None) -> Histology:
    """The class of a stated histology.

    An ICD-O-3 code decides if there is one; otherwise words do. What is negated (`squamous excluded`, `non-small cell`)
    counts as not stated; the site of a metastasis (`metastatic to lymph node`) says nothing about the type. Both
    glandular and squamous is adenosquamous, unless it is stated to be one or the other. German and French words are
    recognized.
    """
    text = plain(stated or "")
    if text in UNKNOWN:
        return "unknown"
    if text in _NAMES:
        return _NAMES[text]
    code = _ICD_O.search(text)
    return _of_code(int(code[1] or code[3]), code[2]) if code else _of_words(text)


def as_word(stated: str) -> str:
    """A stated histology as a key of a user's map: case and surrounding blanks are ignored."""
    return stated.strip().casefold()


def word_map(given: Mapping[object, object]) -> dict[str, Histology]:
    """A user's map of words, checked; raises ValueError, `cause; hint`, for the first invalid entry."""
    found: dict[str, Histology] = {}
    for word, meaning in given.items():
        key = as_word(str(word))
        if not key:
            raise ValueError("a word is empty; an empty histology is unknown, leave it out")
        if meaning not in HISTOLOGIES:
            raise ValueError(f"{word!r} is {meaning!r}, which is not a histology; write one of: {_quoted(HISTOLOGIES)}")
        if found.setdefault(key, meaning) != meaning:
            raise ValueError(f"{key!r} is both {found[key]!r} and {meaning!r}; case is ignored, keep one")
    return found


def is_understood(stated: str) -> bool:
    """Whether a stated histology is recognized: false if none of its words is known."""
    return plain(stated) in UNKNOWN or parse_histology(stated) != "unknown" or bool(_ICD_O.search(plain(stated)))


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def plain(text: str) -> str:
    """Lower case, no accents, single blanks, one kind of hyphen."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    bare = re.sub("[\u2010-\u2015_]", "-", bare).replace("tumour", "tumor")
    return re.sub(r"\s+", " ", re.sub(r"\s*-\s*", "-", bare)).strip(" .,;")


def _of_code(code: int, behavior: str | None) -> Histology:
    if behavior in {"0", "1"}:
        return "not NSCLC"
    return next((name for name, codes in _CODES if code in codes), "not NSCLC")


def _rest(negated: re.Match[str]) -> str:
    """What a negation leaves: stating which type of lung carcinoma it is not implies another type."""
    return " nsclc " if re.search(r"squam|scc|lusc|adeno|luad|large", negated[0]) else " "


def _of_words(text: str) -> Histology:
    for said, english in _FOREIGN:
        text = said.sub(english, text)
    small = _NON_SMALL.sub(" nsclc ", _BEFORE.sub(" ", text))
    left = _BESIDE.sub(" ", _NEGATED.sub(_rest, re.sub(r"\s+", " ", small)))
    if _NOT_NSCLC.search(left.replace("carcinosarcoma", "sarcomatoid")) or _ELSEWHERE.search(left):
        return "not NSCLC"
    found = [name for name, words in _CLASSES if words.search(left)]
    if {"adenocarcinoma", "squamous"} <= set(found):
        return "NSCLC, NOS" if "adenosquamous" not in found and _UNDECIDED.search(left) else "adenosquamous"
    if not found and _NO_TUMOR.search(left):
        return "not NSCLC"
    return found[0] if found else "unknown"


_NAMES = {plain(name): name for name in HISTOLOGIES}
"""The classes by name, as values of a user's map state them."""
