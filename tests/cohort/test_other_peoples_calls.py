"""Mutation tables of other people: other names of KRAS, contradictions, samples that name no patient, odd numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from kras_plugins import ConfigError
from kras_plugins.cohort.gene import is_named
from kras_plugins.cohort.labels import Label, label_patients
from kras_plugins.cohort.mutations import read_mutations
from kras_plugins.cohort.variants import protein_change, residues, substitution
from kras_plugins.errors import UsageError

PATIENT = "TCGA-05-4244"


def write(path: Path, *rows: dict[str, str]) -> str:
    """A table of KRAS G12C calls of one patient; each row may override values."""
    usual = {"Hugo_Symbol": "KRAS", "Tumor_Sample_Barcode": f"{PATIENT}-01A", "HGVSp_Short": "p.G12C"}
    full = [{**usual, **row} for row in rows]
    names = list(dict.fromkeys(name for row in full for name in row))
    path.write_text("\n".join("\t".join(line) for line in [names, *([r.get(n, "") for n in names] for r in full)]))
    return str(path)


def labels(*sources: str, **options: str) -> dict[str, Label]:
    return {one.patient_id: one for one in label_patients(read_mutations(sources, **options))}  # type: ignore[arg-type]


@pytest.fixture
def tables(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases" / "tables"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.mark.parametrize("name", ["trailing_tabs.maf", "alias_KRAS2.maf"])
def test_cases_of_empty_cells_and_of_another_name(tables: Path, name: str) -> None:
    found = labels(str(tables / name))
    assert (found[PATIENT].g12c, found[PATIENT].category) == (1, "G12C")
    others = [found[p] for p in ("TCGA-05-4249", "TCGA-05-4250")]  # TP53 by name, KRAS by Entrez id
    assert [(one.g12c, one.driver, one.category) for one in others] == [(None, None, "unknown")] * 2
    assert all("Entrez 3845 but TP53" in one.flags[0] for one in others)


def test_case_of_a_table_that_holds_its_gene_in_the_title_alone(tables: Path) -> None:
    file = str(tables / "cbio_web.tsv")
    with pytest.raises(ConfigError, match="lacks Hugo_Symbol") as e:
        labels(file)
    assert "--gene KRAS" in e.value.hint
    label = labels(file, symbol="kras")[PATIENT]
    assert (label.g12c, label.histology, label.vafs) == (1, "LUAD", (0.3,))
    with pytest.raises(UsageError, match="TP53 is not KRAS"):
        labels(file, symbol="TP53")


def test_the_command_line_takes_the_gene(tables: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from kras_plugins.cli.app import app

    call = ["cohort", "labels", str(tables / "cbio_web.tsv"), "--gene", "KRAS", "--out", str(tmp_path / "labels.csv")]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert f"{PATIENT},05,LUAD,1,1" in (tmp_path / "labels.csv").read_text()


@pytest.mark.parametrize("name", ["superscript.maf", "damaged.csv.gz"])
def test_cases_of_a_superscript_and_of_damage_name_the_file(tables: Path, name: str) -> None:
    with pytest.raises(ConfigError) as e:
        labels(str(tables / name))
    told = {"superscript.maf": "(row 4, column 'Start_Position': '²')", "damaged.csv.gz": "damaged"}
    assert name in e.value.message and told[name] in e.value.message


@pytest.mark.parametrize(
    "symbol",
    ["KRAS", "kras ", "K-RAS", "K-Ras", "KRAS2", "c-K-ras", "c-Ki-ras2", "Ki-RAS", "KRAS|3845", "ENSG00000133703.14",
     "３８４５", "KRAS\u200b", "LMNTD1;KRAS"],
)  # fmt: skip
def test_kras_is_known_by_any_of_its_names(tmp_path: Path, symbol: str) -> None:
    assert is_named(symbol)
    assert labels(write(tmp_path / "x", {"Hugo_Symbol": symbol}))[PATIENT].g12c == 1


@pytest.mark.parametrize("symbol", ["NRAS", "HRAS", "KRASP1", "TP53", "", "ENSG00000141510", "RAS"])
def test_other_genes_are_not_kras(tmp_path: Path, symbol: str) -> None:
    assert labels(write(tmp_path / "x", {"Hugo_Symbol": symbol}))[PATIENT].g12c == 0


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"Hugo_Symbol": "", "Entrez_Gene_Id": "3845"}, 1),
        ({"Hugo_Symbol": "", "Entrez_Gene_Id": "3845.0"}, 1),
        ({"Entrez_Gene_Id": "0"}, 1),
        ({"Entrez_Gene_Id": "", "Chromosome": "chr12"}, 1),
        ({"Chromosome": "NC_000012.12"}, 1),
        ({"Hugo_Symbol": "TP53", "Entrez_Gene_Id": "3845"}, None),
        ({"Entrez_Gene_Id": "7157"}, None),
        ({"Chromosome": "17"}, None),
        ({"HGVSp_Short": "p.R175H", "Entrez_Gene_Id": "7157"}, None),
    ],
)
def test_a_symbol_and_a_number_that_name_two_genes_leave_the_patient_unknown(
    tmp_path: Path, row: dict[str, str], answer: int | None
) -> None:
    label = labels(write(tmp_path / "x", row))[PATIENT]
    assert label.g12c == answer
    assert label.category == ("G12C" if answer else "unknown")
    assert answer == 1 or "annotations disagree" in label.flags[0]


@pytest.mark.parametrize("untold", ["", "Unknown", ".", "NA"])
@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ({"Chromosome": "12", "Start_Position": "25398285"}, None),
        ({"Chromosome": "chr12", "Start_Position": "25245351"}, None),  # GRCh38
        ({"Chromosome": "12", "Start_Position": "25398285", "Entrez_Gene_Id": "0"}, None),
        ({"Chromosome": "17", "Start_Position": "25398285"}, 0),
        ({"Chromosome": "12", "Start_Position": "66000000"}, 0),
        ({"Chromosome": "12", "Start_Position": "25398285", "Entrez_Gene_Id": "7157"}, 0),
    ],
)
def test_a_row_without_a_gene_that_lies_in_kras_leaves_the_patient_unknown(
    tmp_path: Path, untold: str, place: dict[str, str], answer: int | None
) -> None:
    row = {"Hugo_Symbol": untold, "Reference_Allele": "C", "Tumor_Seq_Allele2": "A", **place}
    label = labels(write(tmp_path / "x", row))[PATIENT]
    assert label.g12c == answer
    assert answer == 0 or "no gene is stated" in label.flags[0]


@pytest.mark.parametrize("untold", [".", "Unknown", "-"])
def test_a_word_for_no_gene_contradicts_no_number(tmp_path: Path, untold: str) -> None:
    assert labels(write(tmp_path / "x", {"Hugo_Symbol": untold, "Entrez_Gene_Id": "3845"}))[PATIENT].g12c == 1


@pytest.mark.parametrize("name", ["TUMOR", "tumor", "__UNKNOWN__", "NORMAL", "unknown", "."])
def test_samples_that_name_nobody_are_refused_unless_the_patient_is_told(tmp_path: Path, name: str) -> None:
    files = [write(tmp_path / f"{i}.maf", {"Tumor_Sample_Barcode": name}) for i in range(3)]
    with pytest.raises(ConfigError, match="names no patient") as e:
        labels(*files)
    assert "0.maf, line 2" in e.value.message and "PATIENT_ID" in e.value.hint
    told = [write(tmp_path / f"{i}.maf", {"Tumor_Sample_Barcode": name, "PATIENT_ID": f"P{i}"}) for i in range(3)]
    assert {p: one.g12c for p, one in labels(*told).items()} == {"P0": 1, "P1": 1, "P2": 1}
    with pytest.raises(ConfigError, match="names no patient"):
        labels(write(tmp_path / "x", {"Tumor_Sample_Barcode": "s", "PATIENT_ID": name}))


def test_several_files_of_one_name_are_not_taken_for_one_patient(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.maf", {"Tumor_Sample_Barcode": "run7"}) for i in range(3)]
    with pytest.raises(ConfigError, match=r"0\.maf and 2 more files all name one sample, 'run7'"):
        labels(*files)
    with pytest.raises(ConfigError, match="all name one sample"):
        labels(str(tmp_path))
    assert labels(files[0])["run7"].g12c == 1
    assert labels(*(write(tmp_path / f"{i}.maf", {}) for i in range(2)))[PATIENT].g12c == 1  # a barcode names a patient


def test_a_list_of_sequenced_cases_that_names_nobody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases").write_text(f"{PATIENT}-01\nTUMOR\n")
    with pytest.raises(ConfigError, match="cases: sample 'TUMOR' names no patient"):
        read_mutations([write(tmp_path / "x", {})], [str(tmp_path / "cases")])


@pytest.mark.parametrize(
    ("column", "text"),
    [("Start_Position", "²"), ("Start_Position", "２５３９８２８５"), ("Start_Position", "9" * 5000),
     ("t_depth", "1_000"), ("t_alt_count", "inf"), ("VAF", "0,3"), ("VAF", "30%"),
     ("VAF", "-0.1"), ("Start_Position", "1e999")],
)  # fmt: skip
def test_a_number_that_is_none_is_an_error_with_row_and_column(tmp_path: Path, column: str, text: str) -> None:
    with pytest.raises(ConfigError) as e:
        labels(write(tmp_path / "x.maf", {}, {column: text}))
    assert f"x.maf: a cell is not a number (row 3, column '{column}': '{text[:40]}" in e.value.message
    assert len(e.value.message) < 300


@pytest.mark.parametrize(
    "text", ["", "NA", "nan", ".", "-", "None", "25,398,285", "25398285.0", "1", "12345678901234567"]
)
def test_a_position_may_be_missing_or_elsewhere(tmp_path: Path, text: str) -> None:
    assert labels(write(tmp_path / "x", {"Start_Position": text}))[PATIENT].g12c == 1


@pytest.mark.parametrize("text", ["p.G１２C", "p.G012C", "p.G²C", f"p.G{'9' * 5000}C", f"p.G12_G{'9' * 5000}del"])
def test_a_change_at_no_number_is_unknown_never_another_change(tmp_path: Path, text: str) -> None:
    assert protein_change(text) == ""
    assert labels(write(tmp_path / "x", {"HGVSp_Short": text}))[PATIENT].g12c is None


def test_places_of_any_length_end_no_program() -> None:
    assert substitution(f"c.{'9' * 5000}G>T") is None
    assert list(residues(f"G{'9' * 5000}C"))[:1] in ([], [99999])
