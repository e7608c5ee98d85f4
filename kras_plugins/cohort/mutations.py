"""Read KRAS calls, and who was sequenced at all, from MAF files, cBioPortal exports and tables like them.

A row of any gene proves that its sample was sequenced; a patient without a row and not
on a list of sequenced cases is unknown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kras_plugins.cohort import gene
from kras_plugins.cohort.barcodes import NORMAL, PRIMARY, Barcode, parse_barcode
from kras_plugins.cohort.calls import Call, Genome, call_of_change, call_of_row, is_untold, lies_in_kras
from kras_plugins.cohort.delimited import Columns, header_of, read_lines, read_table
from kras_plugins.cohort.numbers import shown
from kras_plugins.errors import ConfigError, UsageError

MEANINGS = {
    "gene": ("Hugo_Symbol", "Gene", "Gene_Symbol"),
    "entrez": ("Entrez_Gene_Id", "Entrez_ID", "EntrezGeneID", "NCBI_Gene_ID"),
    "sample": ("Tumor_Sample_Barcode", "Sample_ID", "SampleID", "Sample", "ID"),
    "patient": (
        "PATIENT_BARCODE",
        "Patient_ID",
        "Patient",
        "case_submitter_id",
        "cases.submitter_id",
        "submitter_id",
        "Case_ID",
    ),
    "protein": ("HGVSp_Short", "HGVSp", "Protein_Change", "Amino_Acid_Change", "Mutation"),
    "dna": ("HGVSc", "cDNA_Change"),
    "class": ("Variant_Classification", "Mutation_Type"),
    "chromosome": ("Chromosome", "Chr"),
    "start": ("Start_Position", "Start_Pos"),
    "ref": ("Reference_Allele", "Ref"),
    "alt": ("Tumor_Seq_Allele2", "Variant_Allele", "Var"),
    "other_allele": ("Tumor_Seq_Allele1",),
    "build": ("NCBI_Build",),
    "vaf": ("VAF", "t_vaf", "tumor_vaf", "Allele_Freq_(T)", "Allele_Freq"),
    "depth": ("t_depth",),
    "alt_count": ("t_alt_count", "Variant_Reads"),
    "ref_count": ("t_ref_count", "Ref_Reads"),
    "filter": ("FILTER",),
    "origin": ("Mutation_Status", "MS"),
    "disease": ("DISEASE", "Cancer_Type_Acronym", "Oncotree_Code"),
    "study": ("STUDY_ID", "Study_of_Origin"),
    "wide": ("KRAS", "K-RAS", "KRAS2"),
    "profiled": ("mutations",),
}
"""Names of columns by meaning, in any case and with spaces for underscores."""

_NOBODY = {
    "tumor", "tumour", "normal", "sample", "patient", "__unknown__", "unknown", "tumor_sample", "primary", "none",
    "null", "na", "n/a", "nan", ".", "-", "?", "tumor_sample_barcode", "sample_id", "patient_id",
}  # fmt: skip
"""What tools write if they were given no sample: the same in every patient's file."""
_NAME_IT = "write each file's own sample into Tumor_Sample_Barcode (vcf2maf: --tumor-id), or add a column PATIENT_ID"
_NOT_SEQUENCED = {"NS", "NP", "NA", "N/A", "NOT SEQUENCED", "NOT PROFILED", ""}
_NOT_OF_THE_TUMOR = {"germline", "loh", "wildtype", "redacted"}
"""States of a call that cBioPortal leaves out as well: no somatic mutation, or one that was withdrawn."""
_WILD_TYPE = {"WT", "WILD TYPE", "WILD-TYPE", "NONE", "NO MUTATION"}


@dataclass(kw_only=True)
class Mutations:
    """What the sources state, by patient: calls and samples of primary tumors, and what was left out and counted.

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
    """`LUAD=luad.maf.gz` to a histology and a path; the histology is "" if none is named."""
    found = re.fullmatch(r"([A-Za-z][\w-]*)=(.+)", text)
    return (found[1], Path(found[2])) if found and not Path(text).exists() else ("", Path(text))


def read_mutations(
    sources: Sequence[str],
    sequenced: Sequence[str] = (),
    diseases: Sequence[str] = (),
    genome: Genome = "auto",
    symbol: str = "",
) -> Mutations:
    """Read mutation tables and lists of sequenced cases; each may be written `HISTOLOGY=FILE`.

    `diseases`: only these are kept from a table that states diseases. `genome`: the build of positions, which `auto`
    takes from NCBI_Build and from where KRAS lies in each. `symbol`: the gene of tables without a column of genes, a
    name of KRAS. Raises ConfigError that names file, line and cause.
    """
    if symbol and not gene.is_named(symbol):
        raise UsageError(f"--gene {symbol} is not KRAS", "labels are of KRAS: give the table of its calls")
    found = Mutations()
    named: dict[Path, set[str]] = {}
    for source in sources:
        histology, path = split_source(source)
        for file in _files(path):
            named[file] = _read_source(file, histology, {d.upper() for d in diseases}, genome, symbol, found)
            if not named[file] and file == path:
                raise ConfigError(f"{path} has a header but no rows", "an empty table proves nothing about anyone")
            if not named[file]:
                found.warnings.append(f"{file} has no rows, so its patient is unknown")
    _refuse_one_name(named, found)
    listed: set[str] = set()
    tabled = set(found.samples)
    for source in sequenced:
        histology, path = split_source(source)
        for identifier in read_sequenced(path):
            barcode = _parse(identifier, str(path))
            _refuse_nobody(barcode, str(path))
            if barcode.sample_type >= NORMAL:
                continue  # the normal sample that a tumor was compared with
            if _take(barcode, histology, found):
                found.samples.setdefault(barcode.patient, set()).add(barcode.text)
                listed.add(barcode.patient)
    if tabled and listed and not tabled & listed and not all(found.sites[p] for p in tabled | listed):
        # Otherwise every patient with a call would appear twice, once as a negative from the list.
        raise ConfigError(
            f"no patient of the mutation tables is on a list of sequenced cases ({min(tabled)}, {min(listed)})",
            "name patients the same way: a column PATIENT_ID in the table, or a list of its Tumor_Sample_Barcodes",
        )
    stray = sorted(set(found.calls) - listed) if listed else []
    if stray:
        found.warnings.append(
            f"{len(stray)} patients with a KRAS call are on no list of sequenced cases ({stray[0]} …)"
        )
    found.unsequenced -= set(found.samples)
    found.only_other_samples -= set(found.samples) | found.unsequenced
    return found


def read_sequenced(path: Path) -> Iterator[str]:
    """Identifiers from cBioPortal's `cases_sequenced.txt` or gene panel matrix, a table with ids, or a plain list.

    A cell may contain several, as the GDC's sample sheets list tumor and normal of a case.
    """
    lines = [line for _, line in read_lines(path) if not line.startswith("#")]
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
                    names_here = columns.get(cells, "sample") or columns.get(cells, "patient")
                    yield from (name.strip() for name in names_here.split(","))
            return
    words = [line.split() for line in lines]
    if not lines or any(len(some) != 1 for some in words):
        raise ConfigError(
            f"{path} is not a list of sequenced cases",
            "give cBioPortal's case_lists/cases_sequenced.txt, a table with SAMPLE_ID, or one identifier per line",
        )
    yield from (some[0] for some in words)


def _read_source(
    path: Path, histology: str, diseases: set[str], genome: Genome, symbol: str, found: Mutations
) -> set[str]:
    """Read one table into `found`; returns the patients of all its rows."""
    columns, rows = read_table(path, MEANINGS)
    wide = "gene" not in columns and "wide" in columns
    _need(path, columns, wide, symbol)
    barcodes: dict[str, Barcode] = {}
    patients: set[str] = set()
    untold = "" if "entrez" in columns else symbol
    for line, cells in rows:
        name = columns.get(cells, "sample") or columns.get(cells, "patient")
        if name not in barcodes:
            barcodes[name] = _parse(name, f"{path}, line {line}")
        barcode = barcodes[name]
        if not barcode.site and columns.get(cells, "patient"):  # another project's sample: its table names the patient
            barcode = Barcode(patient=columns.get(cells, "patient"), text=name)
        if barcode.patient not in patients:
            _refuse_nobody(barcode, f"{path}, line {line}")
            patients.add(barcode.patient)
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
        told = columns.get(cells, "gene") if "gene" in columns else untold
        of_kras = gene.is_named(told) or gene.is_entrez(columns.get(cells, "entrez"))
        if not of_kras and not (is_untold(columns, cells) and lies_in_kras(columns, cells, line, genome)):
            continue
        origin = columns.get(cells, "origin").lower()
        if origin in _NOT_OF_THE_TUMOR:
            found.rows_left_out[origin] += 1
            continue
        found.calls.setdefault(barcode.patient, []).append(call_of_row(columns, cells, line, barcode, genome))
    return patients


def _refuse_nobody(barcode: Barcode, where: str) -> None:
    """Raise ConfigError for a placeholder name that every sample shares: several patients would become one."""
    if barcode.patient.lower() in _NOBODY:
        raise ConfigError(f"{where}: sample {barcode.patient!r} names no patient", _NAME_IT)


def _refuse_one_name(named: Mapping[Path, set[str]], found: Mutations) -> None:
    """Raise ConfigError if several files name the same single patient, unless by a TCGA barcode."""
    files = [file for file, patients in named.items() if patients]
    patients = set().union(*named.values())
    if len(files) > 1 and len(patients) == 1 and not any(found.sites.get(p) for p in patients):
        raise ConfigError(
            f"{files[0]} and {len(files) - 1} more files all name one sample, {min(patients)!r}", _NAME_IT
        )


def _files(path: Path) -> list[Path]:
    """The file itself, or all MAF files below a folder, as the GDC provides one per case."""
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.name.lower().endswith((".maf", ".maf.gz")))
    if not files:
        raise ConfigError(f"{path} contains no .maf or .maf.gz file", "name the mutation table itself")
    return files


def _parse(text: str, where: str) -> Barcode:
    try:
        return parse_barcode(text)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e.message}", e.hint) from e


def _need(path: Path, columns: Columns, wide: bool, symbol: str) -> None:
    lacking = []
    if not wide and not symbol and "gene" not in columns and "entrez" not in columns:
        lacking.append("Hugo_Symbol")
    if "sample" not in columns and "patient" not in columns:
        lacking.append("Tumor_Sample_Barcode")
    at = all(name in columns for name in ("start", "ref", "alt"))
    if not wide and not ("protein" in columns or "dna" in columns or at):
        lacking.append("HGVSp_Short (or HGVSc, or Start_Position with alleles)")
    if lacking:
        hint = "give a MAF, cBioPortal's data_mutations.txt, or a table with these columns"
        if lacking == ["Hugo_Symbol"]:  # cBioPortal's single-gene page names the gene only in its title
            hint = "if all rows are of KRAS, as in a download from cBioPortal's page of that gene, use --gene KRAS"
        raise ConfigError(f"{path} lacks {', '.join(lacking)}; it has {shown(header_of(path))}", hint)


def _disease(columns: Columns, cells: Sequence[str]) -> str | None:
    """The row's disease, "" if it states none, None if the table has no such column."""
    if "disease" in columns:
        return columns.get(cells, "disease")
    if "study" in columns:
        return columns.get(cells, "study").partition("_")[0].upper()
    return None


def _take(barcode: Barcode, histology: str, found: Mutations) -> bool:
    """Whether a sample is from a primary tumor (or does not state it); record its patient's site and histology."""
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
    words = re.split(r"[\s,;]+", text)
    found.calls.setdefault(barcode.patient, []).extend(call_of_change(word, barcode) for word in words)
