"""Which gene a table means: KRAS by any of its names, and by its numbers in the databases of genes."""

from __future__ import annotations

import re
import unicodedata

from kras_plugins.cohort.numbers import whole

ENTREZ = 3845
CHROMOSOME = "12"

_NAMES = frozenset({
    "KRAS", "KRAS1", "KRAS2", "RASK2", "KIRAS", "KIRAS2", "CKRAS", "CKRAS2", "CKIRAS", "CKIRAS2", "KRAS2A", "KRAS2B",
    "KRAS4A", "KRAS4B", "ENSG00000133703", "HGNC6407", str(ENTREZ),
})  # fmt: skip
"""HGNC's and NCBI's names without punctuation: K-Ras, KRAS2, c-Ki-ras, K-RAS4B."""


def is_named(text: str) -> bool:
    """Whether a cell names KRAS, alone or among others (`KRAS|3845`, `LMNTD1;KRAS`), in any case and punctuation."""
    words = re.split(r"[|;,/()]", unicodedata.normalize("NFKC", text).upper())
    return any(re.sub(r"\.[0-9]+$|[^A-Z0-9]", "", word) in _NAMES for word in words)


def is_entrez(text: str) -> bool:
    """Whether a cell is the Entrez id of KRAS."""
    return whole(text.removesuffix(".0")) == ENTREZ


def is_other_entrez(text: str) -> bool:
    """Whether a cell is the Entrez id of another gene; 0 and text that is not a number state none."""
    return bool(whole(text.removesuffix(".0"))) and not is_entrez(text)
