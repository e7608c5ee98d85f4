"""Mutation tables as other tools write them: each of these once lost a G12C, invented a negative, or crashed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kras_plugins import ConfigError
from kras_plugins.cohort.covariates import join_covariates
from kras_plugins.cohort.labels import label_patients
from kras_plugins.cohort.mutations import read_mutations
from kras_plugins.cohort.table import Patient
from kras_plugins.cohort.variants import protein_change

A = "TCGA-05-4244-01A-01D-1105-08"


def table(path: Path, **cells: str) -> str:
    """A table of one KRAS call."""
    row = {"Hugo_Symbol": "KRAS", "Tumor_Sample_Barcode": A, **cells}
    path.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    return str(path)


PLACE = {"Chromosome": "12", "Start_Position": "25398285", "Reference_Allele": "C"}


@pytest.mark.parametrize("second", ["C", ""])
@pytest.mark.parametrize("protein", ["p.G12C", ""])
def test_the_variant_may_stand_in_the_first_allele(tmp_path: Path, second: str, protein: str) -> None:
    alleles = {"Tumor_Seq_Allele1": "A", "Tumor_Seq_Allele2": second}
    (label,) = label_patients(read_mutations([table(tmp_path / "x", HGVSp_Short=protein, **PLACE, **alleles)]))
    assert (label.g12c, label.flags) == (1, ())


def test_with_two_variant_alleles_the_second_is_the_tumors(tmp_path: Path) -> None:
    alleles = {"Tumor_Seq_Allele1": "T", "Tumor_Seq_Allele2": "A"}
    (label,) = label_patients(read_mutations([table(tmp_path / "x", **PLACE, **alleles)]))
    assert label.changes == ("p.G12C",)


@pytest.mark.parametrize("state", ["Wildtype", "LOH", "REDACTED"])
def test_a_call_that_is_no_mutation_of_the_tumor_is_left_out_and_counted(tmp_path: Path, state: str) -> None:
    found = read_mutations([table(tmp_path / "x", HGVSp_Short="p.G12C", Mutation_Status=state)])
    (label,) = label_patients(found)
    assert (label.g12c, found.rows_left_out) == (0, {state.lower(): 1})


def test_consequences_named_as_vep_has_them_are_outside_of_the_protein(tmp_path: Path) -> None:
    (label,) = label_patients(
        read_mutations([table(tmp_path / "x", HGVSp_Short="", Variant_Classification="intron_variant")])
    )
    assert (label.g12c, label.category) == (0, "noncoding")


@pytest.mark.parametrize(
    "text", ["P.G12C", "p.gly12cys", "GLY12CYS", "(p.Gly12Cys)", "p.[Gly12Cys]", "NP_1.2:p.(g12c)"]
)
def test_capitals_and_brackets_say_nothing(text: str) -> None:
    assert protein_change(text) == "G12C"


def test_letters_of_an_insertion_are_not_read_as_the_name_of_one_residue() -> None:
    assert protein_change("p.A11delinsVAL") == "A11delinsVAL"


def test_a_table_whose_texts_are_all_in_quotes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text(f'"Hugo_Symbol"\t"Tumor_Sample_Barcode"\t"HGVSp_Short"\n"KRAS"\t"{A}"\t"p.G12C"\n')
    (label,) = label_patients(read_mutations([str(file)]))
    assert label.g12c == 1


def test_a_list_that_names_patients_otherwise_than_the_table_makes_no_negatives(tmp_path: Path) -> None:
    calls = table(tmp_path / "x", Tumor_Sample_Barcode="C3L-1_T", HGVSp_Short="p.G12C")
    (tmp_path / "cases").write_text("C3L-1\nC3L-2\n")
    with pytest.raises(ConfigError, match="no patient of the mutation tables is on a list"):
        read_mutations([calls], [str(tmp_path / "cases")])


def test_a_cell_longer_than_csv_reads_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("Hugo_Symbol,Tumor_Sample_Barcode,HGVSp_Short\nKRAS," + "x" * 200_000 + ",p.G12C\n")
    with pytest.raises(ConfigError, match=r"x\.csv, line 2: field larger"):
        read_mutations([str(file)])
    with pytest.raises(ConfigError, match="cannot be read"):
        join_covariates([Patient(patient_id="p0", slides=())], file)


def test_covariates_in_a_damaged_archive_or_with_tabs_in_a_csv(tmp_path: Path) -> None:
    patients = [Patient(patient_id="p0", slides=())]
    packed = gzip.compress(b"patient_id,stage\np0,II\n" * 9, mtime=0)
    (tmp_path / "x.csv.gz").write_bytes(packed[:15] + bytes(4) + packed[19:])
    with pytest.raises(ConfigError, match=r"x\.csv\.gz cannot be read"):
        join_covariates(patients, tmp_path / "x.csv.gz")
    (tmp_path / "y.csv").write_text("patient_id\tstage\np0\tII\n")
    assert join_covariates(patients, tmp_path / "y.csv")[0][0].covariates == {"stage": "II"}
