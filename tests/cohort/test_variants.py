"""KRAS variants: one notation whatever the source writes, and the same change from protein, DNA and genome."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kras_plugins.cohort.variants import (
    CODING,
    EXONS,
    LIFT,
    PROTEIN,
    build_of_position,
    dna_of_position,
    fits_reference,
    is_driver,
    protein_change,
    protein_of_dna,
    substitution,
)

NAMES = "Ala Arg Asn Asp Cys Gln Glu Gly His Ile Leu Lys Met Phe Pro Ser Thr Trp Tyr Val Ter"
THREE = dict(zip("ARNDCQEGHILKMFPSTWYV*", NAMES.split(), strict=True))


def test_the_protein_is_that_of_kras() -> None:
    # UniProt P01116, residues 1 to 150
    assert PROTEIN == (
        "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQEEYSAMRDQYMRTGEGFLCVFAINNTKSFEDIHHYREQIKRVKDSEDVPM"
        "VLVGNKCDLPSRTVDTKQAQDLARSYGIPFIETSAKTRQ"
    )


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("p.G12C", "G12C"),
        ("G12C", "G12C"),
        ("p.Gly12Cys", "G12C"),
        ("ENSP00000256078.4:p.(Gly12Cys)", "G12C"),
        ("g12c", "G12C"),
        ("p.Lys88Ter", "K88*"),
        ("p.Ala11_Gly12dup", "A11_G12dup"),
        ("p.Ile171AsnfsTer14", "I171Nfs*14"),
        ("p.X37_splice", "X37_splice"),
        ("p.%3D", "="),
        ("p.=", "="),
        ("p.Gly12=", "="),
        ("p.G12G", "="),
        (".", ""),
        ("", ""),
        ("MUTATED", ""),
    ],
)
def test_protein_changes_have_one_notation(text: str, change: str) -> None:
    assert protein_change(text) == change


@given(st.integers(0, 149), st.sampled_from("ARNDCQEGHILKMFPSTWYV*"), st.sampled_from(["", "p.", "NP_004976.2:p."]))
def test_three_letters_and_one_say_the_same(at: int, new: str, prefix: str) -> None:
    old = PROTEIN[at]
    one, three = f"{prefix}{old}{at + 1}{new}", f"{prefix}{THREE[old]}{at + 1}{THREE[new]}"
    assert protein_change(one) == protein_change(three) == ("=" if old == new else f"{old}{at + 1}{new}")
    assert fits_reference(protein_change(one))


@given(st.sampled_from(["GRCh37", "GRCh38"]), st.integers(1, 450), st.sampled_from("ACGT"))
def test_a_base_of_the_genome_and_of_the_coding_sequence_are_the_same_change(build: str, c: int, new: str) -> None:
    first, _, at = next(exon for exon in EXONS if exon[0] <= c <= exon[1])
    position = at - (c - first) + LIFT[build]
    complement = dict(zip("ACGT", "TGCA", strict=True))
    old = CODING[c - 1]
    dna = dna_of_position(build, position, complement[old], complement[new])
    assert dna == f"c.{c}{old}>{new}"
    assert build_of_position(position) == build
    assert substitution(dna) == (c, new)


@pytest.mark.parametrize(
    ("build", "start", "ref", "alt", "dna", "change"),
    [
        ("GRCh38", 25245351, "C", "A", "c.34G>T", "G12C"),
        ("GRCh37", 25398285, "C", "A", "c.34G>T", "G12C"),
        ("GRCh38", 25245350, "C", "T", "c.35G>A", "G12D"),
        ("GRCh37", 25380276, "T", "A", "c.182A>T", "Q61L"),
        ("GRCh37", 25378562, "C", "T", "c.436G>A", "A146T"),
        ("GRCh37", 25378647, "T", "G", "c.351A>C", "K117N"),
        ("GRCh38", 25245350, "CC", "AA", "c.34_35delGGinsTT", "G12F"),
    ],
)
def test_known_hotspots_of_the_genome(build: str, start: int, ref: str, alt: str, dna: str, change: str) -> None:
    assert dna_of_position(build, start, ref, alt) == dna
    assert protein_of_dna(dna) == change


@pytest.mark.parametrize(
    ("dna", "change"),
    [
        ("c.34G>T", "G12C"),
        ("ENST00000256078.9:c.34G>T", "G12C"),
        ("c.34_35delinsTT", "G12F"),
        ("c.34_35GG>TT", "G12F"),
        ("c.36T>C", "="),
        ("c.36_37delinsAT", "G13C"),
        ("c.35_37delinsTTT", "G12_G13delinsVC"),
        ("c.34A>T", ""),  # KRAS has G there: another transcript or a mistake
        ("c.34delG", ""),
        ("c.*96C>G", ""),
        ("c.111+5G>A", ""),
        ("c.452G>C", ""),  # the two isoforms differ
        ("c.0G>T", ""),
    ],
)
def test_protein_changes_from_dna(dna: str, change: str) -> None:
    assert protein_of_dna(dna) == change


def test_two_single_bases_of_one_codon_are_read_together() -> None:
    assert protein_of_dna("c.34G>T", "c.35G>T") == "G12F"


def test_a_residue_that_kras_does_not_have_is_seen() -> None:
    assert not fits_reference("A12C")
    assert not fits_reference("G0C")
    assert fits_reference("K176Q")  # of KRAS4A
    assert fits_reference("K175Q")  # of KRAS4B
    assert fits_reference("M188V") and fits_reference("M189V")  # their last residues
    assert not fits_reference("R175H")  # TP53's most frequent change, where a row names the wrong gene
    assert not fits_reference("M190V")


@pytest.mark.parametrize(
    "change", ["G12C", "G12F", "G13D", "Q61H", "K117N", "A146T", "V14I", "L19F", "A11_G12dup", "D33E"]
)
def test_drivers(change: str) -> None:
    assert is_driver(change)


@pytest.mark.parametrize(
    "change", ["E3K", "R123*", "K88*", "G12*", "G12fs*3", "K117E", "A146S", "A59S", "=", "", "X12_splice"]
)
def test_all_else_is_of_unknown_significance(change: str) -> None:
    assert not is_driver(change)


def test_dna_and_protein_of_the_pancancer_table_agree(shared_data: Path) -> None:
    with gzip.open(shared_data / "tcga" / "ras_mutations.tsv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["Hugo_Symbol"] == "KRAS"]
    derived = [(protein_of_dna(row["HGVSc"]), protein_change(row["HGVSp"])) for row in rows]
    told = [(dna, protein) for dna, protein in derived if dna]
    assert len(told) > 800
    assert all(dna == protein for dna, protein in told)
