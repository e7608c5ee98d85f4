"""Labels from mutation tables: one small table for each trap that has mislabeled patients before."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from kras_plugins import ConfigError
from kras_plugins.cohort.labels import Label, Policy, label_flow, label_patients, totals
from kras_plugins.cohort.mutations import Mutations, read_mutations, read_sequenced

MAF = (
    "Hugo_Symbol", "Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele2", "Variant_Classification",
    "HGVSc", "HGVSp_Short", "Tumor_Sample_Barcode", "t_depth", "t_alt_count",
)  # fmt: skip
A, B = "TCGA-05-4244", "TCGA-44-7661"
G12C = {"HGVSp_Short": "p.G12C", "HGVSc": "c.34G>T"}
G12V = {"HGVSp_Short": "p.G12V", "HGVSc": "c.35G>T"}
TP53 = {"Hugo_Symbol": "TP53", "HGVSp_Short": "p.R175H"}


def call(patient: str = A, sample: str = "-01A-01D-1105-08", **cells: str) -> dict[str, str]:
    """One row: a KRAS missense call of a primary tumor by default."""
    row = {
        "Hugo_Symbol": "KRAS",
        "Variant_Classification": "Missense_Mutation",
        "Tumor_Sample_Barcode": patient + sample,
    }
    return {**row, **cells}


@pytest.fixture
def read(tmp_path: Path):
    """Read rows written as a MAF, with everything `read_mutations` takes."""

    def read(*rows: dict[str, str], columns: tuple[str, ...] = MAF, **options: object) -> Mutations:
        lines = ["#version gdc-1.0.0", "\t".join(columns)]
        lines += ["\t".join(row.get(column, "") for column in columns) for row in rows]
        file = tmp_path / "calls.maf"
        file.write_text("\n".join(lines) + "\n")
        return read_mutations([str(file)], **options)

    return read


def only(mutations: Mutations, policy: Policy | None = None) -> Label:
    (label,) = label_patients(mutations, policy)
    return label


@pytest.mark.parametrize(
    "cells",
    [
        {"HGVSp_Short": "p.G12C"},
        {"HGVSp_Short": "p.Gly12Cys"},
        {"HGVSc": "c.34G>T"},
        {"Chromosome": "chr12", "Start_Position": "25245351", "Reference_Allele": "C", "Tumor_Seq_Allele2": "A"},
        {"Chromosome": "12", "Start_Position": "25398285", "Reference_Allele": "C", "Tumor_Seq_Allele2": "A"},
    ],
)
def test_g12c_is_found_however_the_source_writes_it(read, cells: dict[str, str]) -> None:
    label = only(read(call(**cells)))
    assert (label.g12c, label.driver, label.category, label.changes) == (1, 1, "G12C", ("p.G12C",))
    assert (label.site, label.flags) == ("05", ())


@pytest.mark.parametrize(
    ("cells", "answers", "category"),
    [
        ({"HGVSp_Short": "p.G12D"}, (0, 1, 1, 1), "other driver"),
        ({"HGVSp_Short": "p.K117N"}, (0, 1, 1, 1), "other driver"),
        ({"HGVSp_Short": "p.A146T"}, (0, 1, 1, 1), "other driver"),
        ({"HGVSp_Short": "p.E3K"}, (0, 0, 1, 1), "VUS"),
        ({"HGVSp_Short": "p.R123*", "Variant_Classification": "Nonsense_Mutation"}, (0, 0, 1, 1), "VUS"),
        ({"HGVSp_Short": "p.X37_splice", "Variant_Classification": "Splice_Site"}, (0, 0, 1, 1), "VUS"),
        ({"HGVSp_Short": "p.G12=", "Variant_Classification": "Silent"}, (0, 0, 0, 0), "wild type"),
        ({"HGVSc": "c.*96C>G", "Variant_Classification": "3'UTR"}, (0, 0, 1, 0), "noncoding"),
        ({"Hugo_Symbol": "TP53", "HGVSp_Short": "p.G12C"}, (0, 0, 0, 0), "wild type"),
    ],
)
def test_other_calls_are_answered_as_what_they_are(read, cells, answers, category) -> None:
    label = only(read(call(**cells)))
    assert (label.g12c, label.driver, label.nonsilent, label.changing) == answers
    assert label.category == category


def test_unknown_significance_is_negative_flagged_or_unknown_but_never_hides_what_is_known_of_g12c(read) -> None:
    found = read(call(HGVSp_Short="p.E3K"))
    assert "VUS only" in only(found).flags
    label = only(found, Policy(vus="exclude"))
    assert (label.g12c, label.driver) == (0, None)


def test_two_calls_at_codon_12_may_be_one_g12f_and_are_not_taken_for_g12c(read) -> None:
    counts = {"t_depth": "100", "t_alt_count": "31"}
    found = read(call(**G12C, **counts), call(**G12V, **counts))
    label = only(found)
    assert (label.g12c, label.driver, label.category) == (None, 1, "G12C ambiguous")
    (flag,) = label.flags
    assert flag == "second codon-12 call: p.G12C+p.G12V, read together p.G12F, VAF 0.31 and 0.31"
    assert label.unknown == "G12C with a second codon-12 call"
    assert only(found, Policy(ambiguous="positive")).g12c == 1
    assert only(found, Policy(ambiguous="negative")).g12c == 0
    counted = totals([label])
    assert (counted["g12c"], counted["g12c_ambiguous"], counted["unknown"]) == (0, 1, 1)


def test_g12c_beside_a_driver_of_another_codon_stays_g12c(read) -> None:
    assert only(read(call(**G12C), call(HGVSp_Short="p.Q61H"))).g12c == 1


def test_one_call_twice_is_one_call(read) -> None:
    label = only(read(call(**G12C), call(**G12C)))
    assert (label.g12c, label.changes, label.flags) == (1, ("p.G12C",), ())


def test_two_other_calls_at_codon_12_are_no_g12c(read) -> None:
    label = only(read(call(HGVSp_Short="p.G12S"), call(**G12V)))
    assert (label.g12c, label.driver) == (0, 1)


def test_a_call_below_the_floor_proves_neither_mutation_nor_wild_type(read) -> None:
    found = read(call(**G12C, t_depth="200", t_alt_count="4"))
    assert only(found).g12c == 1
    label = only(found, Policy(min_vaf=0.05))
    assert (label.g12c, label.driver, label.category, label.unknown) == (None, None, "unknown", "VAF below the floor")
    assert label.vafs == (0.02,)


def test_a_weak_second_call_does_not_make_g12c_ambiguous(read) -> None:
    rows = call(**G12C, t_depth="100", t_alt_count="40"), call(**G12V, t_depth="100", t_alt_count="1")
    assert only(read(*rows), Policy(min_vaf=0.05)).g12c == 1
    assert only(read(*rows)).g12c is None


def test_a_call_without_counts_stands_and_is_flagged_where_a_floor_was_asked_for(read) -> None:
    label = only(read(call(**G12C)), Policy(min_vaf=0.05))
    assert (label.g12c, label.flags) == (1, ("no VAF",))


@pytest.mark.parametrize(
    ("cells", "vaf"),
    [
        ({"t_depth": "50", "t_alt_count": "10"}, 0.2),
        ({"t_ref_count": "30", "t_alt_count": "10"}, 0.25),
        ({"VAF": "0.31"}, 0.31),
        ({"VAF": "31"}, 0.31),
        ({"t_depth": "0", "t_alt_count": "0"}, None),
        ({"t_depth": ".", "t_alt_count": "NA"}, None),
    ],
)
def test_the_share_of_reads_from_what_the_source_has(read, cells: dict[str, str], vaf: float | None) -> None:
    label = only(read(call(**G12C, **cells), columns=(*MAF, "t_ref_count", "VAF")))
    assert label.vafs == ((vaf,) if vaf is None else (pytest.approx(vaf),))


def test_normal_recurrent_and_metastatic_samples_are_left_out_and_counted(read) -> None:
    found = read(call(**TP53), *(call(sample=f"-{kind}A-01D", **G12C) for kind in ("11", "02", "06")))
    label = only(found)
    assert (label.g12c, label.category) == (0, "wild type")
    assert {kind: len(names) for kind, names in found.other_samples.items()} == {"11": 1, "02": 1, "06": 1}


def test_a_patient_with_a_metastasis_alone_is_unknown(read) -> None:
    label = only(read(call(sample="-06A-01D", **G12C)))
    assert (label.g12c, label.unknown) == (None, "no primary tumor sequenced")


def test_a_germline_call_is_no_mutation_of_the_tumor(read) -> None:
    found = read(call(**G12C, Mutation_Status="Germline"), columns=(*MAF, "Mutation_Status"))
    assert only(found).g12c == 0
    assert found.rows_left_out == {"germline": 1}


def test_who_is_in_no_row_is_negative_only_with_proof_of_sequencing(read, tmp_path: Path) -> None:
    assert {one.patient_id for one in label_patients(read(call(**G12C)))} == {A}
    cases = tmp_path / "cases_sequenced.txt"
    cases.write_text(f"cancer_study_identifier: luad\ncase_list_ids: {A}-01\t{B}-01\n")
    labels = {one.patient_id: one for one in label_patients(read(call(**G12C), sequenced=[f"LUAD={cases}"]))}
    assert (labels[A].g12c, labels[B].g12c, labels[B].category) == (1, 0, "wild type")
    assert labels[A].n_samples == 1  # the sample of the list and the aliquot of the call are the same
    assert {one.histology for one in labels.values()} == {"LUAD"}


def test_a_list_of_sequenced_cases_may_be_a_list_a_table_or_a_panel_matrix(tmp_path: Path) -> None:
    file = tmp_path / "list"
    for text in (f"{A}-01\n{B}-01\n", f"SAMPLE_ID\tx\n{A}-01\t1\n{B}-01\t2\n", f"case_submitter_id\n{A}-01\n{B}-01\n"):
        file.write_text(text)
        assert list(read_sequenced(file)) == [f"{A}-01", f"{B}-01"]
    file.write_text(f"SAMPLE_ID\tmutations\n{A}-01\tWES\n{B}-01\tNA\n")
    assert list(read_sequenced(file)) == [f"{A}-01"]
    file.write_text("some words here\n")
    with pytest.raises(ConfigError, match="not a list of sequenced cases"):
        list(read_sequenced(file))


def test_a_call_of_someone_on_no_list_is_told(read, tmp_path: Path) -> None:
    (tmp_path / "cases").write_text(f"{B}-01\n")
    found = read(call(**G12C), sequenced=[str(tmp_path / "cases")])
    assert "1 patients with a KRAS call are on no list" in found.warnings[0]


def test_aliquots_that_agree_are_one_label_and_those_that_do_not_are_unknown(read) -> None:
    one, other = "-01A-01D-1105-08", "-01B-01D-2000-08"
    label = only(read(call(sample=one, **G12C), call(sample=other, **G12C)))
    assert (label.g12c, label.n_samples, label.flags) == (1, 2, ())
    label = only(read(call(sample=one, **G12C), call(sample=other, **TP53)))
    assert (label.g12c, label.driver, label.unknown) == (None, None, "samples disagree")
    assert "2 samples or aliquots disagree" in label.flags
    label = only(read(call(sample=one, **G12C), call(sample=other, **G12V)))
    assert (label.g12c, label.driver) == (None, 1)


def test_annotations_that_disagree_leave_the_patient_unknown(read) -> None:
    label = only(read(call(HGVSp_Short="p.G12C", HGVSc="c.35G>T")))
    assert (label.g12c, label.driver, label.nonsilent) == (None, None, 1)
    assert "annotations disagree: p.G12C but c.35G>T is p.G12V" in label.flags
    place = {"Chromosome": "chr12", "Start_Position": "25245350", "Reference_Allele": "C", "Tumor_Seq_Allele2": "A"}
    label = only(read(call(**G12C, **place)))  # c.35
    assert label.g12c is None
    assert label.flags == ("annotations disagree: p.G12C but c.35G>T is p.G12V",)
    assert only(read(call(**G12V, **place))).flags == ()
    label = only(read(call(HGVSp_Short="p.A12C")))
    assert label.g12c is None
    assert "KRAS has another residue there: p.A12C" in label.flags
    label = only(read(call(HGVSp_Short="p.G12C", Variant_Classification="Silent")))
    assert label.g12c is None


def test_a_missense_call_whose_change_cannot_be_told_is_not_taken_for_another(read) -> None:
    label = only(read(call()))
    assert (label.g12c, label.nonsilent, label.unknown) == (None, 1, "protein change not certain")


def test_a_synonymous_change_at_a_splice_site_is_no_change_of_the_protein_to_be_named(read) -> None:
    label = only(read(call(HGVSp_Short="p.Q37=", Variant_Classification="Splice_Site")))
    assert (label.g12c, label.driver, label.category, label.changes) == (0, 0, "VUS", ())


def test_a_change_of_two_bases_in_one_row_is_what_they_make_together(read) -> None:
    place = {"Chromosome": "chr12", "Start_Position": "25245350", "Reference_Allele": "CC", "Tumor_Seq_Allele2": "AA"}
    label = only(read(call(**place, HGVSc="c.34_35delinsTT", Variant_Type="DNP")))
    assert (label.g12c, label.changes, label.flags) == (0, ("p.G12F",), ())


def test_a_filter_that_was_not_passed_is_flagged_and_changes_no_label(read) -> None:
    label = only(read(call(**G12C, FILTER="wga"), columns=(*MAF, "FILTER")))
    assert (label.g12c, label.flags) == (1, ("FILTER wga",))


def test_positions_of_another_genome_build_than_stated_are_refused(read) -> None:
    at37 = {"Chromosome": "12", "Start_Position": "25398285", "Reference_Allele": "C", "Tumor_Seq_Allele2": "A"}
    columns = (*MAF, "NCBI_Build")
    for options, build in (({"genome": "GRCh38"}, ""), ({}, "GRCh38"), ({}, "hg38")):
        with pytest.raises(ConfigError, match="line 3: 25398285 lies in KRAS in GRCh37, not in GRCh38"):
            read(call(**at37, NCBI_Build=build), columns=columns, **options)
    assert only(read(call(**at37, NCBI_Build="37"), columns=columns)).g12c == 1


def test_a_table_of_many_diseases_is_filtered_and_who_has_none_stated_is_no_lung_patient(read) -> None:
    columns = (*MAF, "DISEASE")
    rows = [call(p, **G12C, DISEASE=d) for p, d in ((A, "LUAD"), (B, "COAD"), ("TCGA-44-0001", ""))]
    found = read(*rows, columns=columns, diseases=["LUAD", "LUSC"])
    label = only(found)
    assert (label.patient_id, label.histology) == (A, "LUAD")
    assert {d: len(p) for d, p in found.other_diseases.items()} == {"COAD": 1, "not stated": 1}
    flow = label_flow(found, [label])
    assert [step["patients"] for step in flow] == [3, 2, 1, 1, 0]


def test_the_flow_adds_up(read) -> None:
    ids = [f"TCGA-05-{i:04}" for i in range(5)]
    rows = [call(ids[0], **G12C), call(ids[1], **G12V), call(ids[2], **TP53), call(ids[3], sample="-06A-01D", **G12C)]
    found = read(*rows, call(ids[4], **G12C), call(ids[4], **G12V))
    flow = {step["step"]: step["patients"] for step in label_flow(found, label_patients(found))}
    assert flow["patients in the sources"] == 5
    assert flow["labelled"] == flow["G12C"] + flow["not G12C"] == 3
    assert sum(n for step, n in flow.items() if step.startswith("label unknown")) == 2


def test_gzip_commas_capitals_and_line_ends_are_read_alike(tmp_path: Path) -> None:
    text = f"hugo_symbol,tumor_sample_barcode,hgvsp\r\nKRAS,{A}-01,p.Gly12Cys\r\n"
    for file, data in (
        ("a.txt", text.encode()),
        ("b", gzip.compress(text.encode(), mtime=0)),
        ("c", b"\xef\xbb\xbf" + text.encode()),
    ):
        (tmp_path / file).write_bytes(data)
        assert only(read_mutations([str(tmp_path / file)])).g12c == 1


def test_a_sample_by_gene_table_tells_who_was_not_sequenced(tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_text(
        "STUDY_ID,SAMPLE_ID,KRAS\nluad_x,TCGA-05-0001-01,G12C\nluad_x,TCGA-05-0002-01,WT\nlusc_x,TCGA-05-0003-01,NS\n"
        "luad_x,TCGA-05-0004-01,G12C G12V\nluad_x,TCGA-05-0005-01,\n"
    )
    labels = label_patients(read_mutations([str(file)], diseases=["LUAD", "LUSC"]))
    assert [one.g12c for one in labels] == [1, 0, None, None, None]
    assert [one.histology for one in labels] == ["LUAD", "LUAD", "LUSC", "LUAD", "LUAD"]
    assert labels[2].unknown == labels[4].unknown == "not sequenced"


def test_identifiers_of_other_projects_are_patients_or_their_table_knows_the_patient(read) -> None:
    found = read(
        call("C3L-00001", sample="", **G12C),
        call("S-1", sample="", PATIENT_ID="P1", **G12V),
        columns=(*MAF, "PATIENT_ID"),
    )
    assert [(one.patient_id, one.g12c, one.site) for one in label_patients(found)] == [
        ("C3L-00001", 1, ""),
        ("P1", 0, ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("#version\n", "is empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"),
        ("Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp_Short\n", "a header but no rows"),
        (
            "Gene_Name\tHGVSp_Short\nKRAS\tp.G12C\n",
            "lacks Hugo_Symbol, Tumor_Sample_Barcode; it has Gene_Name, HGVSp_Short",
        ),
        ("Hugo_Symbol\tTumor_Sample_Barcode\nKRAS\tTCGA-05-4244-01\n", "lacks HGVSp_Short"),
        ("Hugo_Symbol;Tumor_Sample_Barcode;HGVSp\nKRAS;TCGA-05-4244-01;p.G12C\n", "separated by semicolons"),
        ("Hugo_Symbol Tumor_Sample_Barcode HGVSp\nKRAS TCGA-05-4244-01 p.G12C\n", "separated by spaces"),
        ("Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp\nKRAS\tTCGA-05-4244-01\n", "line 2: 2 cells under a header of 3"),
        (
            "Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp\nKRAS\tTCGA-05-42\tp.G12C\n",
            "line 2: 'TCGA-05-42' is not a TCGA barcode",
        ),
        ("Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp\nKRAS\t\tp.G12C\n", "line 2: an identifier is empty"),
    ],
)
def test_files_that_are_no_mutation_table_are_refused_with_the_cause(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.maf"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_mutations([str(file)])
    assert message in caught.value.message
    assert "x.maf" in caught.value.message
    assert caught.value.hint


def test_a_folder_of_one_maf_a_case_is_read_whole(tmp_path: Path) -> None:
    header = "Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp_Short\n"
    for name, text in (
        ("a/x.maf.gz", f"KRAS\t{A}-01A\tp.G12C\n"),
        ("b/y.maf.gz", f"TP53\t{B}-01A\t\n"),
        ("c/z.maf.gz", ""),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(gzip.compress((header + text).encode(), mtime=0))
    found = read_mutations([f"LUAD={tmp_path}"])
    assert [(one.patient_id, one.g12c, one.histology) for one in label_patients(found)] == [
        (A, 1, "LUAD"),
        (B, 0, "LUAD"),
    ]
    assert "z.maf.gz has no rows" in found.warnings[0]
    empty = tmp_path / "d"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"contains no \.maf"):
        read_mutations([str(empty)])


def test_a_sample_sheet_of_the_gdc_proves_sequencing_of_the_tumor_and_not_of_its_normal(tmp_path: Path) -> None:
    (tmp_path / "x.maf").write_text(f"Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp_Short\nKRAS\t{A}-01A\tp.G12C\n")
    sheet = f"File ID\tFile Name\tCase ID\tSample ID\n1\tx.maf.gz\t{B}, {B}\t{B}-01A, {B}-10A\n"
    (tmp_path / "sheet.tsv").write_text(sheet)
    found = read_mutations([str(tmp_path / "x.maf")], [str(tmp_path / "sheet.tsv")])
    assert found.samples[B] == {f"{B}-01A"}
    assert not found.other_samples


def test_a_missing_or_truncated_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mutations([str(tmp_path / "none.maf")])
    packed = gzip.compress(
        b"Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp\n" + b"TP53\tTCGA-05-4244-01\tp.R175H\n" * 5000, mtime=0
    )
    (tmp_path / "cut.maf.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ConfigError, match="ends too early or is damaged"):
        read_mutations([str(tmp_path / "cut.maf.gz")])


def test_the_pancancer_table_gives_the_counts_of_its_lung_patients(shared_data: Path) -> None:
    folder = shared_data / "tcga"
    found = read_mutations([str(folder / "ras_mutations.tsv.gz")], diseases=["LUAD", "LUSC"])
    labels = label_patients(found)
    counted = totals(labels)
    luad, lusc = counted["by_histology"]["LUAD"], counted["by_histology"]["LUSC"]
    assert (luad["patients"], lusc["patients"]) == (502, 464)
    assert (counted["g12c"], counted["g12c_ambiguous"]) == (62, 3)
    assert (lusc["g12c"], lusc["g12c_ambiguous"]) == (0, 0)
    assert counted["kras_any_nonsilent"] == 162
    assert counted["kras_protein_changing"] == 161  # one of the 162 has only a call in the 3' untranslated region
    assert sum(one.g12c == 1 for one in label_patients(found, Policy(ambiguous="positive"))) == 65
    with (folder / "kras_labels.csv").open(newline="") as file:
        known = {row["PATIENT_BARCODE"]: row for row in csv.DictReader(file)}
    assert {one.patient_id for one in labels} == set(known)
    for one in labels:
        assert one.nonsilent == int(known[one.patient_id]["kras_mut_any_nonsilent"])
        assert (one.g12c != 0) == (known[one.patient_id]["kras_g12c"] == "1")


def test_the_cbioportal_table_gives_the_counts_of_the_literature(shared_data: Path) -> None:
    labels = label_patients(read_mutations([str(shared_data / "tcga" / "co_mutations.csv")]))
    luad = totals(labels)["by_histology"]["LUAD"]
    assert (luad["patients"], luad["g12c"], luad["g12c_ambiguous"]) == (566, 67, 3)
    assert Counter(one.unknown for one in labels)["not sequenced"] == 3
