"""Other people's class names -> ours; a name that is unknown or ambiguous is an error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kras_plugins import CELL_CLASSES, TISSUE_CLASSES, ConfigError
from kras_plugins.data import GROWTH_PATTERNS
from kras_profiler_import import IGNORE
from kras_profiler_import.checks import DAMAGED

if TYPE_CHECKING:
    from kras_profiler_import import ImportOptions

UNCLASSIFIED = "unclassified"
"""The name of objects without a class in their file."""

VOCABULARIES: Mapping[str, Mapping[str, str]] = {
    # Gamper et al., PanNuke, arXiv 2003.10778. `inflammatory` includes some macrophages; the numbers are HoVer-Net's.
    "pannuke": {
        "neoplastic": "tumor", "neoplastic cells": "tumor", "neopla": "tumor", "1": "tumor",
        "inflammatory": "lymphocyte", "inflammatory cells": "lymphocyte", "inflam": "lymphocyte", "2": "lymphocyte",
        "connective": "fibroblast", "connective/soft tissue cells": "fibroblast", "connec": "fibroblast",
        "3": "fibroblast", "dead": "other", "dead cells": "other", "necros": "other", "4": "other",
        "epithelial": "epithelial", "epithelial cells": "epithelial", "non neoplastic epithelial": "epithelial",
        "non neoplastic epithelial cells": "epithelial", "no neo": "epithelial", "5": "epithelial",
        "background": IGNORE, "nolabe": IGNORE, "0": IGNORE,
    },
    # Verma et al., MoNuSAC, IEEE Trans Med Imaging 2021;40:3413. Its epithelial cells are those of carcinomas.
    "monusac": {
        "epithelial": "tumor", "1": "tumor", "lymphocyte": "lymphocyte", "2": "lymphocyte",
        "macrophage": "macrophage", "3": "macrophage", "neutrophil": "neutrophil", "4": "neutrophil",
        "background": IGNORE, "ambiguous": IGNORE, "nolabe": IGNORE, "0": IGNORE,
    },
    # Graham et al., CoNIC, arXiv 2111.14485. Epithelial cells of any kind; in a carcinoma most are tumor cells.
    "conic": {
        "neutrophil": "neutrophil", "1": "neutrophil", "epithelial": "tumor", "2": "tumor",
        "lymphocyte": "lymphocyte", "3": "lymphocyte", "plasma": "plasma", "plasma cell": "plasma", "4": "plasma",
        "eosinophil": "eosinophil", "5": "eosinophil", "connective": "fibroblast", "connective tissue": "fibroblast",
        "6": "fibroblast", "background": IGNORE, "0": IGNORE,
    },
}  # fmt: skip
"""Closed lists: a source that uses one can give all of its classes, whether they occur on a slide or not."""

_FREE = {
    **{name: name for name in CELL_CLASSES},
    **dict.fromkeys(("tumour", "cancer", "carcinoma", "malignant", "neoplastic", "malignant epithelial"), "tumor"),
    **dict.fromkeys(("til", "immune", "immune cell", "inflammatory", "lymphoid", "leukocyte"), "lymphocyte"),
    **dict.fromkeys(("plasmocyte", "plasmacyte"), "plasma"),
    **dict.fromkeys(("histiocyte", "macrophage/histiocyte"), "macrophage"),
    **dict.fromkeys(("granulocyte",), "neutrophil"),
    **dict.fromkeys(("stroma", "stromal", "connective", "spindle", "myofibroblast"), "fibroblast"),
    **dict.fromkeys(("endothelium", "vascular"), "endothelial"),
    **dict.fromkeys(("benign epithelial", "normal epithelial", "glandular epithel", "squamous epithel"), "epithelial"),
    **dict.fromkeys(("mitotic figure", "mitoses"), "mitosis"),
    **dict.fromkeys(("necrosis", "necrotic", "dead", "apoptotic", "apoptotic body", "red blood", "muscle"), "other"),
    **dict.fromkeys(("ignore*", "ignore", "background", "artifact", "artefact"), IGNORE),
}
"""Names that users of QuPath, HALO and Visiopharm give their classes, singular; lists of their own, so open ones."""

_TISSUE = {
    **{name.replace("_", " "): name for name in TISSUE_CLASSES if name != "background"},
    **dict.fromkeys(("tumor", "tumour", "cancer", "carcinoma", "neoplastic", "tumor epithelium"), "cancer_epithelium"),
    **dict.fromkeys(("stroma", "tumor stroma", "tumour stroma", "tumor associated stroma"), "cancer_stroma"),
    **dict.fromkeys(("necrotic", "necrotic tissue"), "necrosis"),
    **dict.fromkeys(("normal", "alveoli", "lung", "normal tissue"), "normal_lung"),
    **dict.fromkeys(("immune cells", "lymphoid aggregate", "lymphoid tissue", "tls", "lymph node"), "lymphoid"),
    **dict.fromkeys(("mucus",), "mucin"),
    **dict.fromkeys(("blood vessel", "vessels", "blood vessels"), "vessel"),
    **dict.fromkeys(("anthracosis",), "pigment"),
    **dict.fromkeys((UNCLASSIFIED, "tissue", "region", "region*", "roi", "other"), "other"),
    **dict.fromkeys(("ignore*", "ignore", "background", "glass", "artifact", "artefact", "exclude"), IGNORE),
}

_PATTERNS = {
    **{form: name for name in GROWTH_PATTERNS[1:] for form in (name, f"{name} pattern", f"{name} growth")},
    **dict.fromkeys(("invasive mucinous", "invasive mucinous adenocarcinoma"), "mucinous"),
}


def cell_classes(
    file: str, counts: Counter[str], options_classes: Mapping[str, str], vocabulary: str | None
) -> tuple[dict[str, str], list[str]]:
    """Class of ours (or `ignore`) for every name of a file, and notes; `counts`: how often each occurs.

    In order: the user's own mapping; the stated vocabulary; the built-in lists, if all that contain the file's names
    mean the same by them. A few cells without a class, or with a number that names none, are ignored and noted: a file
    is not refused because of them. Raises ConfigError that lists unknown or ambiguous names with their counts and shows
    the line to write.
    """
    own = {_plain(name): word for name, word in options_classes.items()}
    rest = [name for name in counts if _find(name, own) is None]
    if vocabulary is not None:
        if vocabulary not in VOCABULARIES:
            raise ConfigError(
                f"profiler.import.vocabulary={vocabulary} is not known", f"known: {', '.join(VOCABULARIES)}"
            )
        lists = [VOCABULARIES[vocabulary]]
    else:
        lists = fitting([name for name in rest if not _names_nothing(name)]) or [_FREE]
    found = {name: {w for words in lists if (w := _find(name, words)) is not None} for name in rest}
    unknown = {name: counts[name] for name, words in found.items() if not words}
    bare = {name: n for name, n in unknown.items() if _names_nothing(name)}
    told = []
    if bare and sum(bare.values()) <= DAMAGED * counts.total():
        told = [f"cells left out that have no class, or a number that names none: {_counted(bare)}"]
        found |= {name: {IGNORE} for name in bare}
        unknown = {name: n for name, n in unknown.items() if name not in bare}
    if unknown:
        raise ConfigError(
            f"{file}: unknown cell classes: {_counted(unknown)}",
            _line("classes", unknown, "tumor|lymphocyte|…|ignore"),
        )
    double = {name: counts[name] for name, words in found.items() if len(words) > 1}
    if double:
        raise ConfigError(
            f"{file}: cell classes that mean different things in different tools: {_counted(double)}",
            f"say whose they are, -o profiler.import.vocabulary={'|'.join(VOCABULARIES)}, or what they are: "
            + _line("classes", double, "tumor|epithelial|…"),
        )
    mine = {name: word for name in counts if (word := _find(name, own)) is not None}
    return {**mine, **{name: next(iter(words)) for name, words in found.items()}}, told


def can_give(
    names: list[str], mapped: Mapping[str, str], options_classes: Mapping[str, str], vocabulary: str | None
) -> frozenset[str]:
    """Classes of ours that a source can give: those of its mapping and of its vocabulary, else those met.

    A closed list is only inferred from names that nobody else uses: finding two classes says nothing about a third.
    """
    own = {_plain(name): word for name, word in options_classes.items()}
    left_out = {name for name in names if _names_nothing(name) and mapped[name] == IGNORE}
    rest = [name for name in names if name not in left_out and _find(name, own) is None]
    lists = [VOCABULARIES[vocabulary]] if vocabulary else fitting(rest) if rest else []
    shared = set[str]() if _FREE in lists or not lists else set.intersection(*(set(v.values()) for v in lists))
    return frozenset({*mapped.values(), *options_classes.values(), *shared} - {IGNORE})


def fitting(names: list[str]) -> list[Mapping[str, str]]:
    """The built-in lists that know every one of these names (numbers mean nothing without a vocabulary)."""
    if any(name.isdigit() for name in names):
        return []
    return [v for v in (*VOCABULARIES.values(), _FREE) if all(_find(name, v) is not None for name in names)]


def tissue_classes(file: str, counts: Counter[str], options_classes: Mapping[str, str]) -> dict[str, str]:
    """Tissue class of ours (or `ignore`) for every annotation class; ConfigError listing the unknown ones."""
    own = {_plain(name): word for name, word in options_classes.items()}
    found = {name: _find(name, own) or _find(name, _TISSUE) for name in counts}
    unknown = {name: counts[name] for name, word in found.items() if word is None}
    if unknown:
        raise ConfigError(
            f"{file}: unknown annotation classes: {_counted(unknown)}",
            _line("tissue_classes", unknown, "cancer_epithelium|cancer_stroma|…|other|ignore"),
        )
    return {name: word for name, word in found.items() if word is not None}


def pattern_classes(names: Iterable[str], options: ImportOptions) -> dict[str, str]:
    """Growth pattern by annotation class, for classes that mean one and that the user did not map to a tissue class."""
    own = {_plain(name): word for name, word in options.pattern_classes.items()}
    tissue = {_plain(name): word for name, word in options.tissue_classes.items()}
    found = {name: _find(name, own) or (None if _find(name, tissue) else _find(name, _PATTERNS)) for name in names}
    return {name: word for name, word in found.items() if word is not None}


def _names_nothing(name: str) -> bool:
    """Whether a name gives no class by itself: it is empty, or a number that a vocabulary may explain."""
    return name == UNCLASSIFIED or name.isdecimal()


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def _find(name: str, words: Mapping[str, str]) -> str | None:
    """The whole name, its singular without `cell`, then the part before a colon (QuPath's `Tumor: Positive`)."""
    plain = _plain(name)
    for text in (plain, plain.partition(":")[0].strip()):
        bare = re.sub(r" cells?$", "", text)
        for form in (text, bare, bare.removesuffix("s")):
            if form in words:
                return words[form]
    return None


def _counted(names: Mapping[str, int]) -> str:
    ranked = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name!r} ({n:,})" for name, n in ranked[:20]) + (" …" if len(ranked) > 20 else "")


def _line(option: str, names: Mapping[str, int], choices: str) -> str:
    entries = ", ".join(f'"{name}" = "{choices}"' for name in sorted(names)[:20])
    return f"write into kras.toml under [profiler.import]: {option} = {{ {entries} }}"
