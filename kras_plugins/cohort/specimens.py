"""Specimens that models are not made for, such as frozen ones: reported as a warning, never excluded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kras_plugins.cohort.findings import Finding
from kras_plugins.cohort.histology import plain


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of specimen: its name, why it matters, and the words for it.

    `columns`: names of columns where yes means it, with `there` as further words; `words` mean it in any column on
    specimens.
    """

    name: str
    why: str
    columns: str
    words: str
    there: str = "(?!)"


KINDS = (
    Kind(
        name="frozen section",
        why="freezing distorts nuclei and texture, and models here are made for paraffin sections",
        columns=r"(?:is_)?(?:fresh_)?(?:frozen|cryo)(?:_section|_tissue)?",
        words=r"frozen|cryo\w*|oct|ff|gefrier\w*|schnellschnitt\w*|tiefgefroren\w*|congele\w*|extemporane\w*",
    ),
    Kind(
        name="cytology or cell block",
        why="there is hardly any architecture, which areas, distances and neighborhoods need",
        columns=r"(?:is_)?(?:cytology|cell_?block|fna)",
        words=r"cytolog\w*|cell[- ]?blocks?|fna[bc]?|fine[- ]needle\w*|tbna|ebus|smears?|effusions?|pleural fluid"
        r"|ascites|bal|lavage|brush\w*|washings?|aspirat\w*|sputum|thora(?:co)?centesis|zytolog\w*|zellblock|feinnadel\w*"
        r"|ausstrich\w*|cytobloc\w*|cytoponction|ponction",
    ),
    Kind(
        name="decalcified",
        why="acid bleaches hematoxylin and spoils DNA, so that a negative test may be a failed one",
        columns=r"(?:is_)?decal(?:cified|cification)?",
        words=r"decal(?:c\w*)?|entkalk\w*|dekalz\w*",
        there=r"edta|\w* ?acid|hcl",
    ),
    Kind(
        name="pretreated",
        why="therapy leaves fibrosis, necrosis and inflammation that models take for the tumor's own",
        columns=r"(?:\w+_)?neo_?adjuvant(?:_\w+)?|(?:is_)?pre_?treated|induction_\w+"
        r"|(?:received_)?(?:prior|previous)_(?:\w+_)?(?:chemo|radio)?(?:therapy|treatment|radiation)",
        words=r"neo-?adjuvan\w*|pre-?treated|previously treated|vorbehandelt\w*|pretraite\w*"
        r"|post-?(?:neoadjuvant|treatment|therapy|chemo\w*|induction)|induction (?:chemo\w*|therapy)"
        r"|(?:after|nach|apres) (?:\w+ )?(?:chemo\w*|chimio\w*|radi\w*|strahlen\w*|therap\w*|treatment|traitement)",
        there=r"chemo\w*|chimio\w*|radio\w*|radiation|strahlen\w*|immun\w*|targeted\w*|\w*platin\w*|tki|\w+tinib|\w+mab",
    ),
)
"""Words in English, German and French, as `plain` writes them."""

_COLUMNS = re.compile(
    r"specimen|tissue|biopsy|material|(?:specimen|sample|tissue|biopsy|slide|block|section|material)_(?:type|kind|source|"
    r"material|class|preparation|procedure|method)|(?:sample_|tissue_)?(?:preservation|preparation|fixation|embedding)"
    r"(?:_(?:type|method|medium))?|fixative|(?:surgical_|biopsy_)?procedure(?:_(?:type|name))?|sampling(?:_method)?"
    r"|(?:method_of_)?(?:sample_)?(?:procurement|collection)(?:_method)?"
)
"""Columns that describe a specimen in words."""
_YES = re.compile(r"(?:yes|true|ja|oui)\b.*|[yjtx1]|1\.0+")
_NO = (
    r"\b(?:no|not|non|never|without|nicht|kein\w*|ohne|pas|sans)[- ]+"
    r"(?:(?:an?|any|been|de|evidence|of|prior|previous|signs)[- ]+)*"
)
_NONE = r"\s*[:=]\s*(?:none|no|never|not \w+|nein|non|0)\b"


def specimen_kinds(column: str, value: str) -> tuple[str, ...]:
    """The kinds of specimen that a cell states; none for a column that is not on specimens.

    Several values of a patient's slides are joined by `+`; one of them is enough.
    """
    parts = [plain(part) for part in value.split("+")]
    return tuple(kind.name for kind, own in _asked(column) if any(_says(kind, own, part) for part in parts))


def _asked(column: str) -> list[tuple[Kind, bool]]:
    """What a column may state, and whether it is about that alone."""
    name = re.sub(r"[^a-z0-9]+", "_", plain(column)).strip("_")
    own = [bool(re.fullmatch(kind.columns, name)) for kind in KINDS]
    general = bool(_COLUMNS.fullmatch(name))
    return [(kind, asks) for kind, asks in zip(KINDS, own, strict=True) if asks or general]


def _says(kind: Kind, own: bool, text: str) -> bool:
    words = rf"\b(?:{kind.words}{'|' + kind.there if own else ''})\b"
    left = re.sub(rf"{_NO}{words}|{words}{_NONE}", " ", text)
    return bool((own and _YES.fullmatch(text)) or re.search(words, left))


def odd_specimens(columns: Mapping[str, Sequence[str]]) -> list[tuple[str, list[int]]]:
    """For each kind that somebody has, a sentence with counts, and who: positions of patients.

    `columns`: each patient's cell, by the name of the column.
    """
    n = max((len(cells) for cells in columns.values()), default=0)
    having: dict[str, dict[str, list[int]]] = {}
    for column, cells in columns.items():
        for i, cell in enumerate(cells if _asked(column) else ()):
            for name in specimen_kinds(column, cell):
                having.setdefault(name, {}).setdefault(column, []).append(i)
    told = []
    for kind in KINDS:
        by_column = having.get(kind.name, {})
        who = sorted({i for own in by_column.values() for i in own})
        if who:
            said = f"{len(who)} of {n} patients: {kind.name} (column {', '.join(by_column)}): {kind.why}"
            told.append((said, who))
    return told


def specimen_findings(ids: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """The same as findings of a check. `ids`: of the patients, in the order of the cells."""
    for said, who in odd_specimens(columns):
        yield Finding(
            severity="warning",
            what=said,
            who=tuple(ids[i] for i in who),
            do="they are kept: examine them as a subgroup, or remove them from the cohort",
        )
