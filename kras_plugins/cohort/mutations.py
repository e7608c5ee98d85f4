"""Read KRAS calls, and who was sequenced at all, from MAF files, cBioPortal exports and tables like them.

A row of any gene proves that its sample was sequenced; a patient without a row and without a place in a list of
sequenced cases is not known to be anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kras_plugins.cohort import variants
from kras_plugins.cohort.barcodes import PRIMARY, Barcode, parse_barcode
from kras_plugins.cohort.delimited import Columns, header_of, read_lines, read_table
from kras_plugins.errors import ConfigError

Genome = Literal["auto", "GRCh37", "GRCh38"]
Effect = Literal["silent", "noncoding", "protein"]

MEANINGS = {
    "gene": ("Hugo_Symbol", "Gene", "Gene_Symbol"),
    "sample": ("Tumor_Sample_Barcode", "Sample_ID", "SampleID", "Sample", "ID"),
    "patient": ("PATIENT_BARCODE", "Patient_ID", "Patient", "case_submitter_id", "submitter_id", "Case_ID"),
    "protein": ("HGVSp_Short", "HGVSp", "Protein_Change", "Amino_Acid_Change", "Mutation"),
    "dna": ("HGVSc", "cDNA_Change"),
    "class": ("Variant_Classification", "Mutation_Type"),
    "chromosome": ("Chromosome", "Chr"),
    "start": ("Start_Position", "Start_position", "Start_Pos"),
    "ref": ("Reference_Allele", "Ref"),
    "alt": ("Tumor_Seq_Allele2", "Variant_Allele", "Var"),
    "build": ("NCBI_Build",),
    "vaf": ("VAF", "t_vaf", "tumor_vaf", "Allele_Freq_(T)", "Allele_Freq"),
    "depth": ("t_depth",),
    "alt_count": ("t_alt_count",),
    "ref_count": ("t_ref_count",),
    "filter": ("FILTER",),
    "origin": ("Mutation_Status",),
    "disease": ("DISEASE", "Cancer_Type_Acronym", "Oncotree_Code"),
    "study": ("STUDY_ID", "Study_ID"),
    "wide": ("KRAS",),
    "profiled": ("mutations",),
}
"""Names of columns, in any case, by what they tell."""

_SILENT = {"silent", "synonymous", "synonymous_variant"}
_NONCODING = {
    "intron", "3'utr", "5'utr", "3'flank", "5'flank", "igr", "rna", "lincrna", "splice_region", "targeted_region",
}  # fmt: skip
_TRUNCATING = ("frame_shift", "nonsense", "nonstop", "splice_site", "translation_start")
_BUILDS = {"37": "GRCh37", "hg19": "GRCh37", "grch37": "GRCh37", "38": "GRCh38", "hg38": "GRCh38", "grch38": "GRCh38"}
_NOT_SEQUENCED = {"NS", "NP", "NA", "N/A", "NOT SEQUENCED", "NOT PROFILED", ""}
_WILD_TYPE = {"WT", "WILD TYPE", "WILD-TYPE", "NONE", "NO MUTATION"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One KRAS variant of one sample.

    `change`: as `variants.protein_change` gives it, "" where the row tells none; `decided`: whether it is known well
    enough to say that it is or is not G12C; `dna`: the change of the coding sequence, if it is a substitution; `vaf`:
    share of reads, None where the source has no counts; `notes`: what is odd about it.
    """

    sample: str
    change: str
    effect: Effect
    decided: bool = True
    dna: str = ""
    vaf: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Mutations:
    """What the sources say, by patient: calls and samples of primary tumors, and what was left out and counted.

    `samples`: identifiers of the sequenced samples or aliquots; `unsequenced`: patients a source lists as not
    sequenced; `other_samples`: sample type to the identifiers left out for it; `rows_left_out`: reason to rows.
    """

    calls: dict[str, list[Call]] = field(default_factory=dict)
    samples: dict[str, set[str]] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    histologies: dict[str, set[str]] = field(default_factory=dict)
    unsequenced: set[str] = field(default_factory=set)
    only_other_samples: set[str] = field(default_factory=set)
    other_samples: dict[str, set[str]] = field(default_factory=dict)
    other_diseases: dict[str, set[str]] = field(default_factory=dict)
    rows_left_out: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


def split_source(text: str) -> tuple[str, Path]:
    """`LUAD=luad.maf.gz` to a histology and a path; the histology is "" where none is named."""
    found = re.fullmatch(r"([A-Za-z][\w-]*)=(.+)", text)
    return (found[1], Path(found[2])) if found and not Path(text).exists() else ("", Path(text))


def read_mutations(
    sources: Sequence[str], sequenced: Sequence[str] = (), diseases: Sequence[str] = (), genome: Genome = "auto"
) -> Mutations:
    """Read mutation tables and lists of sequenced cases; each may be written `HISTOLOGY=FILE`.

    `diseases`: of a table that states diseases only these are kept. `genome`: the build of positions, which `auto`
    takes from NCBI_Build and from where KRAS lies in each. Raises ConfigError that names file, line and cause.
    """
    found = Mutations()
    for source in sources:
        histology, path = split_source(source)
        _read_source(path, histology, {d.upper() for d in diseases}, genome, found)
    listed: set[str] = set()
    for source in sequenced:
        histology, path = split_source(source)
        for identifier in read_sequenced(path):
            barcode = _parse(identifier, str(path))
            if _take(barcode, histology, found):
                found.samples.setdefault(barcode.patient, set()).add(barcode.text)
                listed.add(barcode.patient)
    stray = sorted(set(found.calls) - listed) if listed else []
    if stray:
        found.warnings.append(
            f"{len(stray)} patients with a KRAS call are on no list of sequenced cases ({stray[0]} …)"
        )
    found.unsequenced -= set(found.samples)
    found.only_other_samples -= set(found.samples) | found.unsequenced
    return found


def read_sequenced(path: Path) -> Iterator[str]:
    """Identifiers from cBioPortal's `cases_sequenced.txt` or gene panel matrix, a table with ids, or a plain list."""
    lines = [line for _, line in read_lines(path)]
    listed = next((line for line in lines if line.startswith("case_list_ids:")), None)
    if listed is not None:
        yield from listed.partition(":")[2].split()
        return
    names = {name.lower() for meaning in ("sample", "patient") for name in MEANINGS[meaning]}
    if lines and (re.search(r"[\t,]", lines[0]) or lines[0].strip().lower() in names):
        columns, rows = read_table(path, MEANINGS)
        if "sample" in columns or "patient" in columns:
            for _, cells in rows:
                if "profiled" not in columns or columns.get(cells, "profiled").upper() not in _NOT_SEQUENCED:
                    yield columns.get(cells, "sample") or columns.get(cells, "patient")
            return
    words = [line.split() for line in lines]
    if not lines or any(len(some) != 1 for some in words):
        raise ConfigError(
            f"{path} is no list of sequenced cases",
            "give cBioPortal's case_lists/cases_sequenced.txt, a table with SAMPLE_ID, or one identifier a line",
        )
    yield from (some[0] for some in words)


def _read_source(path: Path, histology: str, diseases: set[str], genome: Genome, found: Mutations) -> None:
    columns, rows = read_table(path, MEANINGS)
    wide = "gene" not in columns and "wide" in columns
    _need(path, columns, wide)
    barcodes: dict[str, Barcode] = {}
    n = 0
    for line, cells in rows:
        n += 1
        name = columns.get(cells, "sample") or columns.get(cells, "patient")
        if name not in barcodes:
            barcodes[name] = _parse(name, f"{path}, line {line}")
        barcode = barcodes[name]
        if not barcode.site and columns.get(cells, "patient"):  # another project's sample: its table knows the patient
            barcode = Barcode(patient=columns.get(cells, "patient"), text=name)
        disease = _disease(columns, cells)
        if disease is not None and not histology and diseases and disease.upper() not in diseases:
            found.other_diseases.setdefault(disease or "not stated", set()).add(barcode.patient)
            continue
        if not _take(barcode, histology or disease or "", found):
            continue
        if wide:
            _read_wide(columns.get(cells, "wide"), barcode, found)
            continue
        found.samples.setdefault(barcode.patient, set()).add(barcode.text)
        if columns.get(cells, "gene").upper() != "KRAS":
            continue
        if columns.get(cells, "origin").lower() == "germline":
            found.rows_left_out["germline"] += 1
            continue
        found.calls.setdefault(barcode.patient, []).append(_call(columns, cells, line, barcode, genome))
    if not n:
        raise ConfigError(f"{path} has a header but no rows", "an empty table proves nothing about anyone")


def _parse(text: str, where: str) -> Barcode:
    try:
        return parse_barcode(text)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e.message}", e.hint) from e


def _need(path: Path, columns: Columns, wide: bool) -> None:
    lacking = []
    if not wide and "gene" not in columns:
        lacking.append("Hugo_Symbol")
    if "sample" not in columns and "patient" not in columns:
        lacking.append("Tumor_Sample_Barcode")
    at = all(name in columns for name in ("start", "ref", "alt"))
    if not wide and not ("protein" in columns or "dna" in columns or at):
        lacking.append("HGVSp_Short (or HGVSc, or Start_Position with alleles)")
    if lacking:
        has = header_of(path)
        shown = ", ".join(has[:12]) + (" …" if len(has) > 12 else "")
        raise ConfigError(
            f"{path} lacks {', '.join(lacking)}; it has {shown}",
            "give a MAF, cBioPortal's data_mutations.txt, or a table with these columns",
        )


def _disease(columns: Columns, cells: Sequence[str]) -> str | None:
    """The row's disease, "" where it states none, None where the table has no such column."""
    if "disease" in columns:
        return columns.get(cells, "disease")
    if "study" in columns:
        return columns.get(cells, "study").partition("_")[0].upper()
    return None


def _take(barcode: Barcode, histology: str, found: Mutations) -> bool:
    """Whether a sample is a primary tumor's (or does not tell); note its patient's site and histology."""
    found.sites[barcode.patient] = barcode.site
    if histology:
        found.histologies.setdefault(barcode.patient, set()).add(histology)
    if barcode.sample_type in ("", PRIMARY):
        return True
    found.other_samples.setdefault(barcode.sample_type, set()).add(barcode.text)
    found.only_other_samples.add(barcode.patient)
    return False


def _read_wide(text: str, barcode: Barcode, found: Mutations) -> None:
    """One cell of a sample-by-gene table: `WT`, `NS`, or protein changes."""
    if text.upper() in _NOT_SEQUENCED:
        found.unsequenced.add(barcode.patient)
        return
    found.samples.setdefault(barcode.patient, set()).add(barcode.text)
    if text.upper() in _WILD_TYPE:
        return
    for word in re.split(r"[\s,;]+", text):
        change = variants.protein_change(word)
        known = bool(change) and variants.fits_reference(change)
        notes = () if known else (f"protein change not understood: {word}",)
        effect: Effect = "silent" if change == "=" else "protein"
        call = Call(sample=barcode.text, change=change, effect=effect, decided=known, notes=notes)
        found.calls.setdefault(barcode.patient, []).append(call)


def _call(columns: Columns, cells: Sequence[str], line: int, barcode: Barcode, genome: Genome) -> Call:
    kind = columns.get(cells, "class").lower()
    stated = variants.protein_change(columns.get(cells, "protein"))
    told = columns.get(cells, "dna")
    dna = told if variants.substitution(told) else _from_position(columns, cells, line, genome)
    derived = variants.protein_of_dna(dna) if dna else ""
    change = stated or derived
    notes = []
    if stated and derived and stated != derived:
        notes.append(f"annotations disagree: p.{stated} but {dna} is p.{derived}")
    elif change and not variants.fits_reference(change):
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
        dna=dna,
        vaf=_vaf(columns, cells),
        notes=tuple(notes),
    )


def _from_position(columns: Columns, cells: Sequence[str], line: int, genome: Genome) -> str:
    """The DNA change from chromosome, position and alleles, "" where they are missing or lie outside of the exons.

    Raises ConfigError where the position lies in KRAS in another genome build than the one stated.
    """
    start = columns.get(cells, "start").replace(",", "")
    if columns.get(cells, "chromosome").lower().removeprefix("chr") not in ("12", "") or not start.isdigit():
        return ""
    build = variants.build_of_position(int(start))
    stated = genome if genome != "auto" else _BUILDS.get(columns.get(cells, "build").lower(), "")
    if build and stated and build != stated:
        raise ConfigError(
            f"{columns.path}, line {line}: {start} lies in KRAS in {build}, not in {stated} as stated",
            "correct --genome or the file's NCBI_Build",
        )
    return (
        variants.dna_of_position(build, int(start), columns.get(cells, "ref"), columns.get(cells, "alt"))
        if build
        else ""
    )


def _vaf(columns: Columns, cells: Sequence[str]) -> float | None:
    """Share of reads with the variant: from counts, else as stated; None where neither is a number."""
    count = {name: _number(columns.get(cells, name)) for name in ("alt_count", "ref_count", "depth", "vaf")}
    alt, ref, depth = count["alt_count"], count["ref_count"], count["depth"]
    total = depth if depth else (alt or 0) + (ref or 0) if ref is not None else None
    if alt is not None and total:
        return alt / total
    stated = count["vaf"]
    return stated / 100 if stated is not None and stated > 1 else stated


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?([eE]-?\d+)?", text) else None
