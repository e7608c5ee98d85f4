"""One KRAS variant from one row of a mutation table, whichever of its columns describe it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kras_plugins.cohort import gene, variants
from kras_plugins.cohort.barcodes import Barcode
from kras_plugins.cohort.delimited import Columns
from kras_plugins.cohort.numbers import UNKNOWN, number, odd_cells, whole
from kras_plugins.errors import ConfigError

Genome = Literal["auto", "GRCh37", "GRCh38"]
Effect = Literal["silent", "noncoding", "protein"]

_SILENT = {"silent", "synonymous", "synonymous_variant"}
_NONCODING = {
    "intron", "3'utr", "5'utr", "3'flank", "5'flank", "igr", "rna", "lincrna", "splice_region", "targeted_region",
    "intron_variant", "3_prime_utr_variant", "5_prime_utr_variant", "upstream_gene_variant", "downstream_gene_variant",
    "intergenic_variant", "non_coding_transcript_exon_variant", "non_coding_transcript_variant",
}  # fmt: skip
_TRUNCATING = ("frame_shift", "nonsense", "nonstop", "splice_site", "translation_start")
_NOT_STATED = UNKNOWN | {".", "-"}
"""Words of a mutation table for an unknown value; a lone period means that in VCF and files made from it."""
_BUILDS = {"37": "GRCh37", "hg19": "GRCh37", "grch37": "GRCh37", "38": "GRCh38", "hg38": "GRCh38", "grch38": "GRCh38"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One KRAS variant of one sample.

    `change`: as `variants.protein_change` gives it, "" if the row states none; `decided`: whether it is known well
    enough to say that it is or is not G12C; `dna`: the change of the coding sequence, if it is a substitution; `vaf`:
    share of reads, None if the source has no counts; `notes`: what is odd about it.
    """

    sample: str
    change: str
    effect: Effect
    decided: bool = True
    dna: str = ""
    vaf: float | None = None
    notes: tuple[str, ...] = ()


def call_of_change(text: str, barcode: Barcode) -> Call:
    """A call of which only the protein change is stated."""
    change = variants.protein_change(text)
    known = bool(change) and variants.fits_reference(change)
    return Call(
        sample=barcode.text,
        change=change,
        effect="silent" if change == "=" else "protein",
        decided=known,
        notes=() if known else (f"protein change not understood: {text}",),
    )


def call_of_row(columns: Columns, cells: Sequence[str], line: int, barcode: Barcode, genome: Genome) -> Call:
    """The call of one row, by the columns named in `mutations.MEANINGS`; what they disagree on is left undecided.

    Raises ConfigError if the position lies in KRAS in another genome build than the one stated, or if a position or a
    count is not a number.
    """
    kind = columns.get(cells, "class").lower()
    stated = variants.protein_change(columns.get(cells, "protein"))
    told = columns.get(cells, "dna")
    at = _from_position(columns, cells, line, genome)
    derived = {dna: change for dna in (told, at) if dna and (change := variants.protein_of_dna(dna))}
    change = stated or next(iter(derived.values()), "")
    notes = [f"annotations disagree: {text}" for text in _of_another_gene(columns, cells)]
    notes += [
        f"annotations disagree: p.{change} but {dna} is p.{other}" for dna, other in derived.items() if other != change
    ]
    if not notes and change and not variants.fits_reference(change):
        notes.append(f"KRAS has another residue there: p.{change}")
    effect: Effect = "protein"
    if kind in _SILENT or (not kind and change == "="):
        effect = "silent"
    elif kind in _NONCODING or (not kind and not change and re.search(r"c\.[*-]|\d[+-]\d", told)):
        effect = "noncoding"
    if kind and change and (effect == "protein") == (change == "=") and not kind.startswith(_TRUNCATING):
        notes.append(f"annotations disagree: {kind} but p.{change}")
    if effect == "protein" and not change and not kind.startswith(_TRUNCATING):
        notes.append(f"protein change unknown (line {line})")
    decided = not notes
    passed = columns.get(cells, "filter")
    if passed.upper() not in ("", ".", "PASS", "NA"):
        notes.append(f"FILTER {passed}")
    return Call(
        sample=barcode.text,
        change=change,
        effect=effect,
        decided=decided,
        dna=next(iter(derived), ""),
        vaf=_vaf(columns, cells, line),
        notes=tuple(notes),
    )


def is_untold(columns: Columns, cells: Sequence[str]) -> bool:
    """Whether a row of a table with a gene column names none: blank, a word for it (`Unknown`, `.`), or Entrez id 0."""
    entrez = columns.get(cells, "entrez")
    stated = _symbol(columns, cells) or gene.is_entrez(entrez) or gene.is_other_entrez(entrez)
    return ("gene" in columns or "entrez" in columns) and not stated


def lies_in_kras(columns: Columns, cells: Sequence[str], line: int, genome: Genome) -> bool:
    """Whether a row is of a substitution in the coding sequence of KRAS by chromosome and position.

    Raises ConfigError as `call_of_row` does.
    """
    return _chromosome(columns, cells) == gene.CHROMOSOME and bool(_from_position(columns, cells, line, genome))


def _symbol(columns: Columns, cells: Sequence[str]) -> str:
    symbol = columns.get(cells, "gene")
    return "" if symbol.lower() in _NOT_STATED else symbol


def _of_another_gene(columns: Columns, cells: Sequence[str]) -> Iterator[str]:
    """What in the row of a KRAS call names another gene."""
    symbol, entrez = _symbol(columns, cells), columns.get(cells, "entrez")
    if is_untold(columns, cells):
        yield "in KRAS by its position, but no gene is stated"
    elif symbol and not gene.is_named(symbol):
        yield f"Entrez {gene.ENTREZ} but {symbol}"
    elif gene.is_other_entrez(entrez):
        yield f"{symbol or 'KRAS'} but Entrez {entrez}"
    chromosome = _chromosome(columns, cells)
    if chromosome not in ("", gene.CHROMOSOME):
        yield f"KRAS but chromosome {chromosome}"


def _chromosome(columns: Columns, cells: Sequence[str]) -> str:
    text = columns.get(cells, "chromosome")
    text = "" if text.lower() in _NOT_STATED else text.lower().removeprefix("chr").removesuffix(".0")
    return gene.CHROMOSOME if text.startswith("nc_000012.") else text


def _from_position(columns: Columns, cells: Sequence[str], line: int, genome: Genome) -> str:
    """The DNA change from chromosome, position and alleles, "" if they are missing or lie outside the exons.

    Raises ConfigError if the position lies in KRAS in another genome build than the one stated, or is not a number.
    """
    text = columns.get(cells, "start")
    if text.lower() in _NOT_STATED:
        return ""
    start = whole(text.replace(",", "").removesuffix(".0"))
    if start is None:
        raise _no_number(columns, cells, line, "start")
    if _chromosome(columns, cells) not in (gene.CHROMOSOME, ""):
        return ""
    build = variants.build_of_position(start)
    stated = genome if genome != "auto" else _BUILDS.get(columns.get(cells, "build").lower(), "")
    if build and stated and build != stated:
        raise ConfigError(
            f"{columns.path}, line {line}: {start} lies in KRAS in {build}, not in {stated} as stated",
            "correct --genome or the file's NCBI_Build",
        )
    if not build:
        return ""
    ref, alt = columns.get(cells, "ref"), columns.get(cells, "alt")
    if alt in ("", ref):  # as in cBioPortal: then the other allele is the tumor's
        alt = columns.get(cells, "other_allele") or alt
    return variants.dna_of_position(build, start, ref, alt)


def _vaf(columns: Columns, cells: Sequence[str], line: int) -> float | None:
    """Share of reads with the variant: from counts, else as stated; None if neither is stated.

    Raises ConfigError if a stated value is not a number, or is negative.
    """
    count: dict[str, float | None] = {}
    for name in ("alt_count", "ref_count", "depth", "vaf"):
        text = columns.get(cells, name)
        count[name] = None if text.lower() in _NOT_STATED else number(text)
        if text.lower() not in _NOT_STATED and (count[name] is None or (count[name] or 0) < 0):
            raise _no_number(columns, cells, line, name)
    alt, ref, depth = count["alt_count"], count["ref_count"], count["depth"]
    total = depth if depth else (alt or 0) + (ref or 0) if ref is not None else None
    if alt is not None and total:
        return alt / total
    stated = count["vaf"]
    return stated / 100 if stated is not None and stated > 1 else stated


def _no_number(columns: Columns, cells: Sequence[str], line: int, meaning: str) -> ConfigError:
    name = columns.named(cells, meaning)
    return ConfigError(*odd_cells(columns.path, [(line, name, columns.get(cells, meaning))]))
