"""Every feature in one table: name, unit, formula, source, what it needs, how slides of a patient are combined."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = {
    "A": "areas and composition",
    "B": "densities",
    "C": "ratios",
    "D": "immune phenotype on a 1 mm² grid",
    "E": "nearest neighbors",
    "M": "nuclear morphometry",
}
"""Feature groups, letters as in science.md §3."""


@dataclass(frozen=True)
class Feature:
    """One feature of a SemanticProfile.

    `weight`: the area feature by which slides of a patient are averaged, or `sum`, or `call` for one that is decided
    anew from the combined values. `needs`: what a source must provide (cell classes, tissue classes, columns); without
    it the feature is NaN, never zero.
    """

    name: str
    group: str
    unit: str
    weight: str
    needs: frozenset[str]
    formula: str
    source: str


_SHORT = {
    "CE": "cancer_epithelium", "CS": "cancer_stroma", "T": "tumor", "L": "lymphocyte", "F": "fibroblast",
    "M": "macrophage",
}  # fmt: skip


def _group(group: str, source: str, *rows: tuple[str, str, str, str, str]) -> tuple[Feature, ...]:
    """Features of one group from (name, unit, weight, needs, formula); `source` unless the formula names its own."""
    features = []
    for name, unit, weight, needs, text in rows:
        formula, _, own = text.partition(" @ ")
        wanted = frozenset(_SHORT.get(word, word) for word in needs.split())
        features.append(Feature(name, group, unit, weight, wanted, formula, own or source))
    return tuple(features)


FEATURES = (
    *_group(
        "A",
        "HIF: Diao 2021, Nat Commun 12:1613",
        ("area_tissue", "mm²", "sum", "", "analysed tissue"),
        ("area_ce", "mm²", "sum", "CE", "cancer epithelium CE"),
        ("area_cs", "mm²", "sum", "CS", "cancer stroma CS"),
        ("area_ta", "mm²", "sum", "CE CS", "tumor area TA = CE + CS"),
        ("area_necrosis", "mm²", "sum", "necrosis", "necrosis"),
        ("area_normal_lung", "mm²", "sum", "normal_lung", "normal lung"),
        ("frac_ce", "1", "area_ta", "CE CS", "CE / TA"),
        ("tsr", "1", "area_ta", "CE CS", "CS / TA, tumor-stroma ratio @ Mesker 2007"),
        ("log_ce_cs", "1", "area_ta", "CE CS", "ln((CE + 0.001) / (CS + 0.001))"),
        ("frac_ta", "1", "area_tissue", "CE CS", "TA / tissue"),
        ("frac_necrosis", "1", "area_ta", "CE CS necrosis", "necrosis / (TA + necrosis)"),
        ("frac_normal", "1", "area_tissue", "normal_lung", "normal lung / tissue"),
        ("frac_mucin", "1", "area_ta", "CE CS mucin", "mucin / (TA + mucin) @ after Rekhtman 2013"),
        ("frac_pigment", "1", "area_tissue", "pigment", "pigment / tissue @ ours"),
        ("n_tissue_fragments", "1", "sum", "", "pieces of tissue >= 0.05 mm² @ ours"),
    ),
    *_group(
        "B",
        "HIF: Diao 2021; Park 2022, J Clin Oncol 40:1916",
        ("itil", "1/mm²", "area_ce", "L CE", "L in CE / CE"),
        ("stil", "1/mm²", "area_cs", "L CS", "L in CS / CS"),
        ("til_ta", "1/mm²", "area_ta", "L CE CS", "L in TA / TA"),
        ("til_tissue", "1/mm²", "area_tissue", "L", "L / tissue"),
        ("tc_ce", "1/mm²", "area_ce", "T CE", "T in CE / CE"),
        ("tc_ta", "1/mm²", "area_ta", "T CE CS", "T in TA / TA"),
        ("tc_cs", "1/mm²", "area_cs", "T CS", "T in CS / CS (single-cell invasion)"),
        ("fib_cs", "1/mm²", "area_cs", "F CS", "F in CS / CS"),
        ("fib_ta", "1/mm²", "area_ta", "F CE CS", "F in TA / TA"),
        ("fib_ce", "1/mm²", "area_ce", "F CE", "F in CE / CE"),
        ("mac_ce", "1/mm²", "area_ce", "M CE", "macrophages in CE / CE"),
        ("mac_cs", "1/mm²", "area_cs", "M CS", "macrophages in CS / CS"),
        ("plasma_cs", "1/mm²", "area_cs", "plasma CS", "plasma cells in CS / CS"),
        ("neut_ta", "1/mm²", "area_ta", "neutrophil CE CS", "neutrophils in TA / TA"),
        ("eos_ta", "1/mm²", "area_ta", "eosinophil CE CS", "eosinophils in TA / TA"),
        ("endo_ta", "1/mm²", "area_ta", "endothelial CE CS", "endothelial cells in TA / TA"),
        ("cell_ta", "1/mm²", "area_ta", "CE CS", "all nuclei in TA / TA"),
        ("mitosis_ta", "1/mm²", "area_ta", "mitosis CE CS", "mitoses in TA / TA"),
        ("til_peri", "1/mm²", "area_cs", "L CE CS", "L / area, in CS within 200 µm of the CE-CS interface"),
        ("til_normal", "1/mm²", "area_tissue", "L CE CS", "L / area, in tissue outside TA"),
    ),
    *_group(
        "C",
        "HIF: Diao 2021",
        ("purity", "1", "area_ta", "T CE CS", "T / all nuclei in TA"),
        ("lt_ratio", "1", "area_ta", "T L CE CS", "L / T in TA"),
        ("lym_frac", "1", "area_ta", "L CE CS", "L / all nuclei in TA"),
        ("itlr", "1", "area_ta", "T L CE CS", "L among dense T and in CE / T @ Yuan 2015, J R Soc Interface 12"),
        ("atlr", "1", "area_ta", "T L CE CS", "L adjacent to dense T / T @ Yuan 2015, J R Soc Interface 12"),
        ("dtlr", "1", "area_ta", "T L CE CS", "L distal to T / T @ Yuan 2015, J R Soc Interface 12"),
        ("il_share", "1", "area_ta", "L CE CS", "L in CE / L in TA"),
        ("log_itil_stil", "1", "area_ta", "L CE CS", "ln((itil + 1) / (stil + 1))"),
        ("fib_tum", "1", "area_ta", "F T CE CS", "F / T in TA"),
        ("mac_lym", "1", "area_ta", "M L CE CS", "macrophages / L in TA"),
        ("neut_lym", "1", "area_ta", "neutrophil L CE CS", "neutrophils / L in TA"),
        ("fib_lym", "1", "area_ta", "F L CE CS", "F / L in TA"),
    ),
    *_group(
        "D",
        "Park 2022, J Clin Oncol 40:1916",
        ("is", "1", "area_ta", "L CE CS", "share of squares with L / CE > 106 per mm² (inflamed)"),
        ("ies", "1", "area_ta", "L CE CS", "share of squares not inflamed with L / CS > 357 per mm² (excluded)"),
        ("ids", "1", "area_ta", "L CE CS", "share of the other squares (desert)"),
        ("ip_class", "class", "call", "L CE CS", "2 inflamed if is > 1/3, else 1 excluded if ies > 1/3, else 0 desert"),
        ("iip_frac", "1", "area_ta", "L CE CS", "share of inflamed squares @ Shen 2024, JITC 12:e008339"),
        ("iip_pos", "0/1", "call", "L CE CS", "iip_frac >= 0.20 @ Shen 2024, JITC 12:e008339"),
        ("grid_itil_p10", "1/mm²", "area_ta", "L CE CS", "10th percentile over squares of L / CE"),
        ("grid_itil_p50", "1/mm²", "area_ta", "L CE CS", "median over squares of L / CE"),
        ("grid_itil_p90", "1/mm²", "area_ta", "L CE CS", "90th percentile over squares of L / CE"),
        ("grid_itil_cv", "1", "area_ta", "L CE CS", "SD / mean over squares of L / CE"),
        ("grid_stil_p50", "1/mm²", "area_ta", "L CE CS", "median over squares of L / CS"),
        ("grid_stil_p90", "1/mm²", "area_ta", "L CE CS", "90th percentile over squares of L / CS"),
        ("grid_stil_cv", "1", "area_ta", "L CE CS", "SD / mean over squares of L / CS"),
        ("grid_til_gini", "1", "area_ta", "L CE CS", "Gini coefficient over squares of L / TA"),
        ("ip_entropy", "bit", "area_ta", "L CE CS", "Shannon entropy of is, ies, ids"),
        ("n_grids", "1", "sum", "CE CS", "squares with CE + CS >= 0.05 mm²"),
    ),
    *_group(
        "E",
        "Corredor 2019, Clin Cancer Res; Baddeley, Rubak & Turner 2015",
        ("d_tl_p50", "µm", "area_ta", "T L CE CS", "median distance T to nearest L"),
        ("d_tl_p10", "µm", "area_ta", "T L CE CS", "10th percentile of distance T to nearest L"),
        ("d_tl_p90", "µm", "area_ta", "T L CE CS", "90th percentile of distance T to nearest L"),
        ("d_lt_p50", "µm", "area_ta", "T L CE CS", "median distance L to nearest T"),
        ("d_lt_p90", "µm", "area_ta", "T L CE CS", "90th percentile of distance L to nearest T"),
        ("d_ll_p50", "µm", "area_ta", "L CE CS", "median distance L to nearest other L"),
        ("d_tt_p50", "µm", "area_ta", "T CE CS", "median distance T to nearest other T"),
        ("t_near_l_20", "1", "area_ta", "T L CE CS", "share of T with an L within 20 µm"),
        ("t_near_l_50", "1", "area_ta", "T L CE CS", "share of T with an L within 50 µm"),
        ("t_near_l_100", "1", "area_ta", "T L CE CS", "share of T with an L within 100 µm"),
        ("l_within_50_of_t", "1", "area_ta", "T L CE CS", "mean number of L within 50 µm of a T"),
        ("t_within_30_of_l", "1", "area_ta", "T L CE CS", "mean number of T within 30 µm of an L"),
        ("g_tl_auc", "1", "area_ta", "T L CE CS", "mean over r in 0..100 µm of the share of T with an L within r"),
        ("nn_ratio", "1", "area_ta", "T L CE CS", "mean d(T, L) · 2 sqrt(L / TA); 1 at random @ Clark & Evans 1954"),
    ),
    *_group(
        "M",
        "HIF: Diao 2021; Ding 2022, npj Precis Oncol 6:33; T in CE",
        ("nuc_area_mean", "µm²", "area_ce", "T CE area_um2", "mean area"),
        ("nuc_area_sd", "µm²", "area_ce", "T CE area_um2", "SD of area"),
        ("nuc_area_p10", "µm²", "area_ce", "T CE area_um2", "10th percentile of area"),
        ("nuc_area_p50", "µm²", "area_ce", "T CE area_um2", "median area"),
        ("nuc_area_p90", "µm²", "area_ce", "T CE area_um2", "90th percentile of area"),
        ("nuc_area_cv", "1", "area_ce", "T CE area_um2", "SD / mean of area (anisokaryosis)"),
        ("nuc_area_p90_p50", "1", "area_ce", "T CE area_um2", "90th percentile / median of area"),
        ("nuc_perimeter_mean", "µm", "area_ce", "T CE perimeter_um", "mean perimeter"),
        ("nuc_perimeter_cv", "1", "area_ce", "T CE perimeter_um", "SD / mean of perimeter"),
        ("nuc_major_mean", "µm", "area_ce", "T CE major_um", "mean major axis"),
        ("nuc_minor_mean", "µm", "area_ce", "T CE minor_um", "mean minor axis"),
        ("nuc_ecc_mean", "1", "area_ce", "T CE eccentricity", "mean eccentricity"),
        ("nuc_ecc_sd", "1", "area_ce", "T CE eccentricity", "SD of eccentricity"),
        ("nuc_solidity", "1", "area_ce", "T CE solidity", "mean solidity"),
        ("nuc_circularity", "1", "area_ce", "T CE area_um2 perimeter_um", "mean of 4π area / perimeter²"),
        ("nuc_elongated", "1", "area_ce", "T CE eccentricity", "share with eccentricity > 0.85"),
        ("nuc_h_od_mean", "OD", "area_ce", "T CE h_od_mean", "mean hematoxylin density"),
        ("nuc_h_od_sd", "OD", "area_ce", "T CE h_od_sd", "mean SD of hematoxylin density within a nucleus"),
        ("nuc_glcm_contrast", "1", "area_ce", "T CE glcm_contrast", "mean co-occurrence contrast @ Haralick 1973"),
        (
            "nuc_glcm_correlation",
            "1",
            "area_ce",
            "T CE glcm_correlation",
            "mean co-occurrence correlation @ Haralick 1973",
        ),
        ("nuc_glcm_energy", "1", "area_ce", "T CE glcm_energy", "mean co-occurrence energy @ Haralick 1973"),
        (
            "nuc_glcm_homogeneity",
            "1",
            "area_ce",
            "T CE glcm_homogeneity",
            "mean co-occurrence homogeneity @ Haralick 1973",
        ),
        ("nuc_h_entropy", "bit", "area_ce", "T CE h_entropy", "mean entropy of hematoxylin levels"),
        (
            "nuc_orient_coherence",
            "1",
            "area_ce",
            "T CE orientation",
            "mean of |mean exp(2i orientation)| within 100 µm",
        ),
        ("lym_area_median", "µm²", "area_ta", "L CE CS area_um2", "median area of L nuclei in TA (scan control)"),
        ("tl_area_ratio", "1", "area_ce", "T L CE CS area_um2", "median area of T in CE / of L in TA"),
    ),
)
"""All features in their order; a SemanticProfile of a SemanticMap has exactly these."""

BY_NAME = {feature.name: feature for feature in FEATURES}
