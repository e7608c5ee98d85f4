"""KRAS variants: protein changes in one notation, from HGVS of protein or DNA or from the genome, and the drivers.

Coordinates: the coding sequence (NM_004985) counts from 1 at the A of ATG; the gene lies on the minus strand of
chromosome 12. From residue 151 on, KRAS4A and KRAS4B differ, and no protein change is derived from DNA.
"""

from __future__ import annotations

import re

CODING = (
    "ATGACTGAATATAAACTTGTGGTAGTTGGAGCTGGTGGCGTAGGCAAGAGTGCCTTGACGATACAGCTAATTCAGAATCATTTTGTGGACGAATATGAT"
    "CCAACAATAGAGGATTCCTACAGGAAGCAAGTAGTAATTGATGGAGAAACCTGTCTCTTGGATATTCTCGACACAGCAGGTCAAGAGGAGTACAGTGCA"
    "ATGAGGGACCAGTACATGAGGACTGGGGAGGGCTTTCTTTGTGTATTTGCCATAAATAATACTAAATCATTTGAAGATATTCACCATTATAGAGAACAA"
    "ATTAAAAGAGTTAAGGACTCTGAAGATGTACCTATGGTCCTAGTAGGAAATAAATGTGATTTGCCTTCTAGAACAGTAGACACAAAACAGGCTCAGGAC"
    "TTAGCAAGAAGTTATGGAATTCCTTTTATTGAAACATCAGCAAAGACAAGACAG"
)
"""Bases 1 to 450 of the coding sequence: codons 1 to 150, which KRAS4A and KRAS4B share."""

_BASES = "TCAG"
_CODONS = [a + b + c for a in _BASES for b in _BASES for c in _BASES]
_AMINO = dict(zip(_CODONS, "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG", strict=True))
PROTEIN = "".join(_AMINO[CODING[i : i + 3]] for i in range(0, len(CODING), 3))

ENDS = ("RVEDAFYTLVREIRQYRLKKISKEEKTPGCVKIKKCIIM", "GVDDAFYTLVREIRKHKEKMSKDGKKKKKKSKTKCVIM")
"""Residues from 151 on of KRAS4A and KRAS4B (UniProt P01116-1 and P01116-2)."""

EXONS = ((1, 111, 25398318), (112, 290, 25380346), (291, 450, 25378707))
"""Coding exons: first and last base of the coding sequence, and where the first lies on chromosome 12 of GRCh37."""

LIFT = {"GRCh37": 0, "GRCh38": -152934}
"""What to add to a GRCh37 position in KRAS."""

GENE = (25357000, 25404500)
"""Where KRAS lies in GRCh37; in GRCh38 it does not overlap this stretch."""

_THREE = {
    "Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G", "His": "H",
    "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S", "Thr": "T", "Trp": "W",
    "Tyr": "Y", "Val": "V", "Ter": "*",
}  # fmt: skip
_THREE_LETTERS = re.compile("|".join(_THREE))
_AT = "[1-9][0-9]{0,4}"  # a place in a sequence; \d would take `１２` too, and int() ends at some thousand digits
_ANY_CASE = re.compile(rf"[A-Za-z]{{3}}{_AT}(?:[A-Za-z]{{3}}|[*=])|[a-z]{_AT}[a-z*=]")
_SUBSTITUTION = re.compile("([A-Z])([0-9]{1,5})([A-Z*])")
_PROTEIN = re.compile(rf"[A-Z*]{_AT}(?:_[A-Z*]?{_AT})?(?:[A-Z*=?]|_?splice|(?:del|dup|ins|fs|ext|delins).*|[A-Z]fs.*)")
_RESIDUES = re.compile(rf"[A-Z*]({_AT})(?:_[A-Z*]?({_AT}))?")
_DNA = re.compile(rf"c\.({_AT})(?:_({_AT}))?(?:([ACGT]+)>|del([ACGT]*)ins)([ACGT]+)")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")

_DRIVER_CODONS = frozenset({12, 13, 61})
_DRIVERS = frozenset({
    "K117N", "A146P", "A146T", "A146V", "V14I", "L19F", "Q22K", "D33E", "A59E", "A59G", "A59T",
})  # fmt: skip


def protein_change(text: str) -> str:
    """A protein change in one-letter form without `p.` (`G12C`), `=` if it is synonymous, "" if none is stated.

    Reads `p.G12C`, `G12C`, `p.Gly12Cys`, `ENSP00000256078.4:p.(Gly12Cys)`, `p.%3D`, `p.G10dup`; substitutions also in
    any case (`P.GLY12CYS`, `g12c`).
    """
    text = text.strip().rpartition(":")[2].replace("%3D", "=").strip("()[]")
    text = re.sub(r"^[Pp]\.", "", text).strip("()[]")
    if _ANY_CASE.fullmatch(text):
        text = text.title()
    text = _THREE_LETTERS.sub(lambda found: _THREE[found[0]], text)
    if text == "=":
        return text
    if not _PROTEIN.fullmatch(text):
        return ""
    plain = _SUBSTITUTION.fullmatch(text)
    return "=" if text.endswith("=") or (plain and plain[1] == plain[3]) else text


def fits_reference(change: str) -> bool:
    """Whether the residue a substitution replaces is the one KRAS4A or KRAS4B has there; True for other changes."""
    plain = _SUBSTITUTION.fullmatch(change)
    if plain is None:
        return True
    at = int(plain[2])
    return at > 0 and any((PROTEIN + end)[at - 1 : at] == plain[1] for end in ENDS)


def substitution(text: str) -> tuple[int, str] | None:
    """First base of the coding sequence and the bases that replace as many there, of `c.34G>T`, `c.34_35delinsTT`.

    None for anything else: no coding position up to 450, an insertion or deletion, or bases KRAS does not have there.
    """
    found = _DNA.fullmatch(text.strip().rpartition(":")[2])
    if found is None:
        return None
    start, alt = int(found[1]), found[5]
    ref = CODING[start - 1 : int(found[2] or start)]
    if len(ref) != len(alt) or (found[3] or found[4] or ref) != ref:
        return None
    return start, alt


def protein_of_dna(*texts: str) -> str:
    """The protein change, as `protein_change` gives it, of one or more DNA changes on the same molecule.

    "" if one of them is not a substitution in the coding sequence.
    """
    bases = list(CODING)
    for text in texts:
        found = substitution(text)
        if found is None:
            return ""
        bases[found[0] - 1 : found[0] - 1 + len(found[1])] = found[1]
    changed = "".join(_AMINO["".join(bases[i : i + 3])] for i in range(0, len(bases), 3))
    at = [i for i, (old, new) in enumerate(zip(PROTEIN, changed, strict=True)) if old != new]
    if not at:
        return "="
    first, last = at[0], at[-1]
    if first == last:
        return f"{PROTEIN[first]}{first + 1}{changed[first]}"
    new = changed[first : last + 1]
    return f"{PROTEIN[first]}{first + 1}_{PROTEIN[last]}{last + 1}delins{new}"


def dna_of_position(build: str, start: int, ref: str, alt: str) -> str:
    """The DNA change (`c.34G>T`) of a substitution at chr12 `start`, both alleles on the plus strand.

    `start`: first base, counted from 1. "" outside the coding exons or if lengths differ. The reference base is not
    checked: `substitution` refuses one that KRAS does not have.
    """
    ref, alt = ref.upper(), alt.upper()
    if len(ref) != len(alt) or not ref or set(ref + alt) - set("ACGT"):
        return ""
    end37 = start + len(ref) - 1 - LIFT[build]  # the first base of the coding strand
    for first, last, at in EXONS:
        c = first + at - end37
        if first <= c and c + len(ref) - 1 <= last:
            old, new = (bases[::-1].translate(_COMPLEMENT) for bases in (ref, alt))
            return f"c.{c}{old}>{new}" if len(ref) == 1 else f"c.{c}_{c + len(ref) - 1}del{old}ins{new}"
    return ""


def build_of_position(start: int) -> str:
    """The genome build in which a chr12 position lies in KRAS, "" if in neither."""
    for build, shift in LIFT.items():
        if GENE[0] + shift <= start <= GENE[1] + shift:
            return build
    return ""


def residues(change: str) -> range:
    """The residues that a protein change names, an empty range if it names none."""
    found = _RESIDUES.match(change)
    return range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)


def is_driver(change: str) -> bool:
    """Whether a protein change is a known driver.

    At codons 12, 13 and 61 every substitution and every insertion, deletion or duplication in frame; elsewhere K117N,
    A146P/T/V, V14I, L19F, Q22K, D33E and A59E/G/T. All others are variants of unknown significance.
    """
    if _DRIVER_CODONS & set(residues(change)):
        return not re.search(r"\*|fs|splice|\?", change)
    return change in _DRIVERS


def driver_class(change: str) -> str:
    """The label column of `targets.CLASSES` that a protein change belongs to, "" if it is not a driver.

    `g12c`, `g12d`, `g12v`: that substitution; `g13`, `q61`: any driver that changes that codon alone; `other_kras`: all
    other drivers of `is_driver`, such as G12A, G12_G13insG or A146T.
    """
    if not is_driver(change):
        return ""
    if change in ("G12C", "G12D", "G12V"):
        return change.lower()
    return {range(13, 14): "g13", range(61, 62): "q61"}.get(residues(change), "other_kras")
