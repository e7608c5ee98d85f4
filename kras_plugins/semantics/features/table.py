"""Every feature in one table: name, unit, formula, source, what it needs, how slides of a patient are combined."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = {
    "A": "areas and composition",
    "B": "densities",
    "C": "ratios",
    "D": "immune phenotype on a 1 mm² grid",
    "E": "nearest neighbors",
    "F": "second-order statistics",
    "G": "similarity and autocorrelation on squares",
    "H": "hotspots",
    "I": "cell graph",
    "J": "interface of epithelium and stroma",
    "K": "architecture of the epithelium",
    "L": "clusters of lymphocytes",
    "M": "nuclear morphometry",
    "N": "growth patterns and other KRAS priors",
}
"""Feature groups; how each is computed: docs/reference/definitions.md."""


_CORE = {
    "A": (8, 10, 11), "B": (1, 2, 3, 5, 8), "C": (1, 2, 4, 7, 8), "D": (1, 2, 3, 8, 10), "E": (1, 4, 6, 8, 14),
    "F": (5, 8), "G": (2, 7, 10), "H": (1, 3), "I": (1, 4, 5, 8), "J": (2, 3, 4, 5, 9, 10, 13), "K": (2, 4, 7, 11),
    "L": (2,), "M": (2, 4, 6, 12, 17, 19, 26),
}  # fmt: skip
_EXTENT = {"gi_max", "l_component_max", "ce_largest_share", "ce_solidity", "interface_fractal", "til_c_index"}
"""Quotients and extremes that still change with more of the same tumor (docs/reference/definitions.md, table)."""


@dataclass(frozen=True)
class Feature:
    """One feature of a SemanticProfile.

    `number`: its place in its group in docs/reference/definitions.md (tsr is A8). `weight`: the area feature by which
    slides of a patient are averaged, or `sum`, or `call` for one that is decided again from the combined values.
    `needs`: what a source must provide (cell classes, tissue classes, columns, `growth_patterns`, `histology_model`);
    without it the feature is NaN, never zero. `validity.RULES` says when a group as a whole is NaN.
    """

    name: str
    group: str
    number: int
    unit: str
    weight: str
    needs: frozenset[str]
    formula: str
    source: str

    @property
    def core(self) -> bool:
        """Whether it is one of the 53 of the preset `core`."""
        return self.number in _CORE.get(self.group, ())

    @property
    def learned(self) -> bool:
        """Whether classifiers may learn from it: not if it shows how much tissue there is."""
        return self.weight != "sum" and self.name not in _EXTENT


_SHORT = {
    "CE": "cancer_epithelium", "CS": "cancer_stroma", "T": "tumor", "L": "lymphocyte", "F": "fibroblast",
    "M": "macrophage",
}  # fmt: skip


@dataclass(frozen=True)
class F:
    """A feature as written in this file: `needs` are words, some of them _SHORT; `source`: if not that of its group."""

    name: str
    unit: str
    weight: str
    needs: str
    formula: str
    source: str = ""


def _group(group: str, source: str, *rows: F) -> tuple[Feature, ...]:
    """Features of one group, numbered in order; `source`: for those that name none of their own."""
    return tuple(
        Feature(
            row.name, group, number, row.unit, row.weight,
            frozenset(_SHORT.get(word, word) for word in row.needs.split()), row.formula, row.source or source,
        )
        for number, row in enumerate(rows, start=1)
    )  # fmt: skip


FEATURES = (
    *_group(
        "A",
        "HIF: Diao 2021, Nat Commun 12:1613",
        F("area_tissue", "mm²", "sum", "", "analyzed tissue"),
        F("area_ce", "mm²", "sum", "CE", "cancer epithelium CE"),
        F("area_cs", "mm²", "sum", "CS", "cancer stroma CS"),
        F("area_ta", "mm²", "sum", "CE CS", "tumor area TA = CE + CS"),
        F("area_necrosis", "mm²", "sum", "necrosis", "necrosis"),
        F("area_normal_lung", "mm²", "sum", "normal_lung", "normal lung"),
        F("frac_ce", "1", "area_ta", "CE CS", "CE / TA"),
        F("tsr", "1", "area_ta", "CE CS", "CS / TA, tumor-stroma ratio", "Mesker 2007"),
        F("log_ce_cs", "1", "area_ta", "CE CS", "ln((CE + 0.001) / (CS + 0.001))"),
        F("frac_ta", "1", "area_tissue", "CE CS", "TA / tissue"),
        F("frac_necrosis", "1", "area_ta", "CE CS necrosis", "necrosis / (TA + necrosis)"),
        F("frac_normal", "1", "area_tissue", "normal_lung", "normal lung / tissue"),
        F("frac_mucin", "1", "area_ta", "CE CS mucin", "mucin / (TA + mucin)", "after Rekhtman 2013"),
        F("frac_pigment", "1", "area_tissue", "pigment", "pigment / tissue", "ours"),
        F("n_tissue_fragments", "1", "sum", "", "pieces of tissue >= 0.05 mm²", "ours"),
    ),
    *_group(
        "B",
        "HIF: Diao 2021; Park 2022, J Clin Oncol 40:1916",
        F("itil", "1/mm²", "area_ce", "L CE", "L in CE / CE"),
        F("stil", "1/mm²", "area_cs", "L CS", "L in CS / CS"),
        F("til_ta", "1/mm²", "area_ta", "L CE CS", "L in TA / TA"),
        F("til_tissue", "1/mm²", "area_tissue", "L", "L / tissue"),
        F("tc_ce", "1/mm²", "area_ce", "T CE", "T in CE / CE"),
        F("tc_ta", "1/mm²", "area_ta", "T CE CS", "T in TA / TA"),
        F("tc_cs", "1/mm²", "area_cs", "T CS", "T in CS / CS (single-cell invasion)"),
        F("fib_cs", "1/mm²", "area_cs", "F CS", "F in CS / CS"),
        F("fib_ta", "1/mm²", "area_ta", "F CE CS", "F in TA / TA"),
        F("fib_ce", "1/mm²", "area_ce", "F CE", "F in CE / CE"),
        F("mac_ce", "1/mm²", "area_ce", "M CE", "macrophages in CE / CE"),
        F("mac_cs", "1/mm²", "area_cs", "M CS", "macrophages in CS / CS"),
        F("plasma_cs", "1/mm²", "area_cs", "plasma CS", "plasma cells in CS / CS"),
        F("neut_ta", "1/mm²", "area_ta", "neutrophil CE CS", "neutrophils in TA / TA"),
        F("eos_ta", "1/mm²", "area_ta", "eosinophil CE CS", "eosinophils in TA / TA"),
        F("endo_ta", "1/mm²", "area_ta", "endothelial CE CS", "endothelial cells in TA / TA"),
        F("cell_ta", "1/mm²", "area_ta", "CE CS", "all nuclei in TA / TA"),
        F("mitosis_ta", "1/mm²", "area_ta", "mitosis CE CS", "mitoses in TA / TA"),
        F("til_peri", "1/mm²", "area_cs", "L CE CS", "L / area, in CS within 200 µm of the CE-CS interface"),
        F("til_normal", "1/mm²", "area_tissue", "L CE CS", "L / area, in tissue outside TA"),
    ),
    *_group(
        "C",
        "HIF: Diao 2021",
        F("purity", "1", "area_ta", "T CE CS", "T / all nuclei in TA"),
        F("lt_ratio", "1", "area_ta", "T L CE CS", "L / T in TA"),
        F("lym_frac", "1", "area_ta", "L CE CS", "L / all nuclei in TA"),
        F("itlr", "1", "area_ta", "T L CE CS", "L among dense T and in CE / T", "Yuan 2015, J R Soc Interface 12"),
        F("atlr", "1", "area_ta", "T L CE CS", "L adjacent to dense T / T", "Yuan 2015, J R Soc Interface 12"),
        F("dtlr", "1", "area_ta", "T L CE CS", "L distal to T / T", "Yuan 2015, J R Soc Interface 12"),
        F("il_share", "1", "area_ta", "L CE CS", "L in CE / L in TA"),
        F("log_itil_stil", "1", "area_ta", "L CE CS", "ln((itil + 1) / (stil + 1))"),
        F("fib_tum", "1", "area_ta", "F T CE CS", "F / T in TA"),
        F("mac_lym", "1", "area_ta", "M L CE CS", "macrophages / L in TA"),
        F("neut_lym", "1", "area_ta", "neutrophil L CE CS", "neutrophils / L in TA"),
        F("fib_lym", "1", "area_ta", "F L CE CS", "F / L in TA"),
    ),
    *_group(
        "D",
        "Park 2022, J Clin Oncol 40:1916",
        F("is", "1", "area_ta", "L CE CS", "share of squares with L / CE > 106 per mm² (inflamed)"),
        F("ies", "1", "area_ta", "L CE CS", "share of squares not inflamed with L / CS > 357 per mm² (excluded)"),
        F("ids", "1", "area_ta", "L CE CS", "share of the other squares (desert)"),
        F(
            "ip_class",
            "class",
            "call",
            "L CE CS",
            "2 inflamed if is > 1/3, else 1 excluded if ies > 1/3, else 0 desert",
        ),
        F("iip_frac", "1", "area_ta", "L CE CS", "share of inflamed squares", "Shen 2024, JITC 12:e008339"),
        F("iip_pos", "0/1", "call", "L CE CS", "iip_frac >= 0.20", "Shen 2024, JITC 12:e008339"),
        F("grid_itil_p10", "1/mm²", "area_ta", "L CE CS", "10th percentile over squares of L / CE"),
        F("grid_itil_p50", "1/mm²", "area_ta", "L CE CS", "median over squares of L / CE"),
        F("grid_itil_p90", "1/mm²", "area_ta", "L CE CS", "90th percentile over squares of L / CE"),
        F("grid_itil_cv", "1", "area_ta", "L CE CS", "SD / mean over squares of L / CE"),
        F("grid_stil_p50", "1/mm²", "area_ta", "L CE CS", "median over squares of L / CS"),
        F("grid_stil_p90", "1/mm²", "area_ta", "L CE CS", "90th percentile over squares of L / CS"),
        F("grid_stil_cv", "1", "area_ta", "L CE CS", "SD / mean over squares of L / CS"),
        F("grid_til_gini", "1", "area_ta", "L CE CS", "Gini coefficient over squares of L / TA"),
        F("ip_entropy", "bit", "area_ta", "L CE CS", "Shannon entropy of is, ies, ids"),
        F("n_grids", "1", "sum", "CE CS", "squares with CE + CS >= 0.05 mm²"),
    ),
    *_group(
        "E",
        "Corredor 2019, Clin Cancer Res; Baddeley, Rubak & Turner 2015",
        F("d_tl_p50", "µm", "area_ta", "T L CE CS", "median distance T to nearest L"),
        F("d_tl_p10", "µm", "area_ta", "T L CE CS", "10th percentile of distance T to nearest L"),
        F("d_tl_p90", "µm", "area_ta", "T L CE CS", "90th percentile of distance T to nearest L"),
        F("d_lt_p50", "µm", "area_ta", "T L CE CS", "median distance L to nearest T"),
        F("d_lt_p90", "µm", "area_ta", "T L CE CS", "90th percentile of distance L to nearest T"),
        F("d_ll_p50", "µm", "area_ta", "L CE CS", "median distance L to nearest other L"),
        F("d_tt_p50", "µm", "area_ta", "T CE CS", "median distance T to nearest other T"),
        F("t_near_l_20", "1", "area_ta", "T L CE CS", "share of T with an L within 20 µm"),
        F("t_near_l_50", "1", "area_ta", "T L CE CS", "share of T with an L within 50 µm"),
        F("t_near_l_100", "1", "area_ta", "T L CE CS", "share of T with an L within 100 µm"),
        F("l_within_50_of_t", "1", "area_ta", "T L CE CS", "mean number of L within 50 µm of a T"),
        F("t_within_30_of_l", "1", "area_ta", "T L CE CS", "mean number of T within 30 µm of an L"),
        F("g_tl_auc", "1", "area_ta", "T L CE CS", "mean over r in 0..100 µm of the share of T with an L within r"),
        F("nn_ratio", "1", "area_ta", "T L CE CS", "mean d(T, L) · 2 sqrt(L / TA); 1 at random", "Clark & Evans 1954"),
    ),
    *_group(
        "F",
        "Baddeley, Rubak & Turner 2015, rigid-motion edge correction (Ohser & Stoyan 1981)",
        *(
            F(f"ripley_{ab.lower()}_{r}", "µm", "area_ta", f"{needs} CE CS", f"L(r) - r of {ab} at r = {r} µm in TA")
            for ab, needs in (("TT", "T"), ("LL", "L"), ("TL", "T L"))
            for r in (25, 50, 100)
        ),
        *(
            F(
                f"pcf_tl_{r}",
                "1",
                "area_ta",
                "T L CE CS",
                f"pairs T, L at {r} ± 5 µm / expected in the part of the rings in TA; 1 independent",
                "Bull 2023, cross-PCF",
            )
            for r in (20, 50, 100, 200)
        ),
        F("ll_scale", "µm", "area_ta", "L CE CS", "r in 10, 15 ... 200 µm of L's highest pair correlation"),
    ),
    *_group(
        "G",
        "ours, on squares of 100 µm of which TA covers half or more",
        F("mh_50", "1", "area_ta", "T L CE CS", "Morisita-Horn index of T and L, 50 µm", "Maley 2015"),
        F("mh_100", "1", "area_ta", "T L CE CS", "Morisita-Horn index of T and L, 100 µm", "Maley 2015"),
        F("mh_200", "1", "area_ta", "T L CE CS", "Morisita-Horn index of T and L, 200 µm", "Maley 2015"),
        F("bhattacharyya", "1", "area_ta", "T L CE CS", "Σ sqrt(p q), p, q shares of T, L", "Bhattacharyya 1943"),
        F("sorensen", "1", "area_ta", "T L CE CS", "2 · squares with both / (with T + with L)", "Sørensen 1948"),
        F("pearson_tl", "1", "area_ta", "T L CE CS", "Pearson's r of ln(1 + T) and ln(1 + L)"),
        F("moran_l", "1", "area_ta", "L CE CS", "Moran's I of L per mm², row-standardized queen", "Moran 1950"),
        F("geary_l", "1", "area_ta", "L CE CS", "Geary's C of L per mm², row-standardized queen", "Geary 1954"),
        F("moran_t", "1", "area_ta", "T CE CS", "Moran's I of T per mm², row-standardized queen", "Moran 1950"),
        F("lee_tl", "1", "area_ta", "T L CE CS", "Lee's L of T and L per mm², queen and itself", "Lee 2001"),
        F("local_entropy", "bit", "area_ta", "T L CE CS", "mean entropy of T, L in squares with 5 of them or more"),
        F("lacunarity_l", "1", "area_ta", "L CE CS", "E[m²] / E[m]², m: L per mm² in 200 µm boxes", "Allain 1991"),
    ),
    *_group(
        "H",
        "Nawaz 2015, Mod Pathol 28; Gi* of Ord & Getis 1995, 50 µm squares, queen, FDR 5 %",
        F("immune_hs_frac", "1", "area_ta", "T L CE CS", "hotspots of L / squares"),
        F("cancer_hs_frac", "1", "area_ta", "T L CE CS", "hotspots of T / squares"),
        F("co_hs_immune", "1", "area_ta", "T L CE CS", "squares that are hotspots of both / hotspots of L"),
        F("co_hs_cancer", "1", "area_ta", "T L CE CS", "squares that are hotspots of both / hotspots of T"),
        F("co_hs_all", "1", "area_ta", "T L CE CS", "squares that are hotspots of both / squares"),
        F("immune_hs_ce", "1", "area_ta", "T L CE CS", "CE / TA in hotspots of L"),
        F("cold_l_frac", "1", "area_ta", "T L CE CS", "cold spots of L / squares"),
        F("gi_max", "1", "area_ta", "T L CE CS", "highest Gi* of L"),
    ),
    *_group(
        "I",
        "ours, on the Delaunay graph of T and L in TA, edges <= 35 µm",
        F("assortativity", "1", "area_ta", "T L CE CS", "assortativity of the classes", "Newman 2003, Phys Rev E 67"),
        F("edge_tt", "1", "area_ta", "T L CE CS", "TT edges / edges"),
        F("edge_ll", "1", "area_ta", "T L CE CS", "LL edges / edges"),
        F("edge_tl", "1", "area_ta", "T L CE CS", "TL edges / edges"),
        F("mixing", "1", "area_ta", "T L CE CS", "TL edges / LL edges", "Keren 2018, Cell 174"),
        F("nhood_excess_tl", "1", "area_ta", "T L CE CS", "TL edges / their mean at random - 1", "Cliff & Ord 1981"),
        F("degree_t", "1", "area_ta", "T L CE CS", "mean neighbors of T"),
        F("edge_mean", "µm", "area_ta", "T L CE CS", "mean edge length"),
        F("edge_cv", "1", "area_ta", "T L CE CS", "SD / mean of edge lengths"),
        F("clustering", "1", "area_ta", "T L CE CS", "mean clustering coefficient, 2 neighbors or more", "Watts 1998"),
        F("l_component_max", "1", "area_ta", "T L CE CS", "largest component of L / L"),
        F("l_components", "1/mm²", "area_ta", "T L CE CS", "components of 20 L or more / TA"),
        F("voronoi_cv_t", "1", "area_ta", "T L CE CS", "SD / mean of T's areas in the Voronoi diagram of T, L"),
        F("knn_l_of_t", "1", "area_ta", "T L CE CS", "mean number of L among the 10 nearest of T"),
    ),
    *_group(
        "J",
        "ours; s: distance from the CE-CS interface, s < 0 in CE, s > 0 in CS or other tissue",
        *(
            F(name, "1/mm²", "area_ta", "L CE CS", f"L / area at {low} < s <= {high} µm")
            for name, low, high in (
                ("til_m150_m100", -150, -100),
                ("til_m100_m50", -100, -50),
                ("til_m50_0", -50, 0),
                ("til_0_50", 0, 50),
                ("til_50_100", 50, 100),
                ("til_100_200", 100, 200),
                ("til_200_300", 200, 300),
                ("til_300_500", 300, 500),
            )
        ),
        F("til_slope", "1/µm", "area_ta", "L CE CS", "slope of ln(L / area + 1) on s within 150 µm, bands of 25 µm"),
        F("til_in_out", "1", "area_ta", "L CE CS", "L per area at -100 < s <= 0 / at 0 < s <= 100 µm"),
        F("til_depth", "µm", "area_ce", "L CE CS", "median -s of L in CE"),
        F("interface_len", "mm", "sum", "CE CS", "length of the CE-CS interface"),
        F("interface_density", "mm/mm²", "area_ce", "CE CS", "length of the CE-CS interface / CE"),
        F("til_margin_stroma", "1", "area_ta", "L CE CS", "L in CS / L in TA, within 100 µm of the interface"),
    ),
    *_group(
        "K",
        "ours; components: connected CE >= 968.2 µm² that touches CS",
        F("n_ce_components", "1", "sum", "CE CS", "components", "Kim 2023, JITC 11:A1436"),
        F("tfi", "1/mm²", "area_ta", "CE CS", "components / TA, tumor fragmentation index", "Kim 2023, JITC 11:A1436"),
        F("tfi_high", "0/1", "call", "CE CS", "tfi >= 35", "Kim 2023, JITC 11:A1436"),
        F("ce_component_p50", "mm²", "area_ce", "CE CS", "median area of components"),
        F("ce_component_gini", "1", "area_ce", "CE CS", "Gini coefficient of the areas of components"),
        F("ce_largest_share", "1", "area_ce", "CE CS", "largest component / components"),
        F("nest_width", "µm", "area_ce", "CE", "4 · mean distance of CE to its edge: the width of strips"),
        F("ce_solidity", "1", "area_ce", "CE CS", "area-weighted mean of area / convex hull"),
        F("ce_circularity", "1", "area_ce", "CE CS", "area-weighted mean of 4π area / perimeter² (Crofton)"),
        F("interface_fractal", "1", "area_ce", "CE CS", "box-counting dimension of the interface, 32 to 512 µm"),
        F("lumen_share", "1", "area_ce", "CE", "clear holes of 200 to 50,000 µm² within CE / CE"),
        F("stroma_width", "µm", "area_cs", "CE CS", "median over CS of the distance to the interface"),
    ),
    *_group(
        "L",
        "ours (proxy, not proven structures); after Helmink 2020, Nature 577, and Cabrita 2020, Nature 577",
        F(
            "tls_count",
            "1",
            "sum",
            "L CE CS",
            "DBSCAN clusters of L (30 µm, 15) of >= 0.0175 mm² (hull), >= 3000 L/mm² and >= 70 % L",
        ),
        F("tls_density", "1/mm²", "area_ta", "L CE CS", "tls_count / TA"),
        F("tls_area_share", "1", "area_ta", "L CE CS", "hull area of these / TA"),
        F("tls_ce_distance", "µm", "area_ta", "L CE CS", "median distance of their centers to the interface, 0 in CE"),
        F(
            "til_cluster_density",
            "1/mm²",
            "area_ta",
            "L CE CS",
            "DBSCAN clusters (30 µm, 15) half in TA or more / TA",
            "Saltz 2018",
        ),
        F("til_cluster_size", "1", "area_ta", "L CE CS", "mean cells of these clusters", "Saltz 2018, Cell Rep 23"),
        F("til_cluster_size_cv", "1", "area_ta", "L CE CS", "SD / mean of their cells", "Saltz 2018, Cell Rep 23"),
        F("til_ball_hall", "µm²", "area_ta", "L CE CS", "mean of mean squared distance to center", "Ball & Hall 1965"),
        F("til_c_index", "1", "area_ta", "L CE CS", "C-index on squares of 50 µm", "Hubert & Levin 1976"),
    ),
    *_group(
        "M",
        "HIF: Diao 2021; Ding 2022, npj Precis Oncol 6:33; T in CE",
        F("nuc_area_mean", "µm²", "area_ce", "T CE area_um2", "mean area"),
        F("nuc_area_sd", "µm²", "area_ce", "T CE area_um2", "SD of area"),
        F("nuc_area_p10", "µm²", "area_ce", "T CE area_um2", "10th percentile of area"),
        F("nuc_area_p50", "µm²", "area_ce", "T CE area_um2", "median area"),
        F("nuc_area_p90", "µm²", "area_ce", "T CE area_um2", "90th percentile of area"),
        F("nuc_area_cv", "1", "area_ce", "T CE area_um2", "SD / mean of area (anisokaryosis)"),
        F("nuc_area_p90_p50", "1", "area_ce", "T CE area_um2", "90th percentile / median of area"),
        F("nuc_perimeter_mean", "µm", "area_ce", "T CE perimeter_um", "mean perimeter"),
        F("nuc_perimeter_cv", "1", "area_ce", "T CE perimeter_um", "SD / mean of perimeter"),
        F("nuc_major_mean", "µm", "area_ce", "T CE major_um", "mean major axis"),
        F("nuc_minor_mean", "µm", "area_ce", "T CE minor_um", "mean minor axis"),
        F("nuc_ecc_mean", "1", "area_ce", "T CE eccentricity", "mean eccentricity"),
        F("nuc_ecc_sd", "1", "area_ce", "T CE eccentricity", "SD of eccentricity"),
        F("nuc_solidity", "1", "area_ce", "T CE solidity", "mean solidity"),
        F("nuc_circularity", "1", "area_ce", "T CE area_um2 perimeter_um", "mean of 4π area / perimeter²"),
        F("nuc_elongated", "1", "area_ce", "T CE eccentricity", "share with eccentricity > 0.85"),
        F("nuc_h_od_mean", "OD", "area_ce", "T CE h_od_mean", "mean hematoxylin density"),
        F("nuc_h_od_sd", "OD", "area_ce", "T CE h_od_sd", "mean SD of hematoxylin density within a nucleus"),
        *(
            F(f"nuc_glcm_{name}", "1", "area_ce", f"T CE glcm_{name}", f"mean co-occurrence {name}", "Haralick 1973")
            for name in ("contrast", "correlation", "energy", "homogeneity")
        ),
        F("nuc_h_entropy", "bit", "area_ce", "T CE h_entropy", "mean entropy of hematoxylin levels"),
        F("nuc_orient_coherence", "1", "area_ce", "T CE orientation", "mean of |mean exp(2i angle)| within 100 µm"),
        F("lym_area_median", "µm²", "area_ta", "L CE CS area_um2", "median area of L nuclei in TA (scan control)"),
        F("tl_area_ratio", "1", "area_ce", "T L CE CS area_um2", "median area of T in CE / of L in TA"),
    ),
    *_group(
        "N",
        "Rekhtman 2013, Mod Pathol 26:1307; patterns: share of the TA that has one",
        F(
            "p_luad",
            "1",
            "area_ta",
            "histology_model",
            "P(adenocarcinoma), a confounder: report with and without",
            "ours",
        ),
        F("solid_share", "1", "area_ta", "CE CS growth_patterns", "solid"),
        F("mucinous_share", "1", "area_ta", "CE CS growth_patterns", "mucinous"),
        F("lepidic_papillary_share", "1", "area_ta", "CE CS growth_patterns", "lepidic + papillary"),
        F("pattern_entropy", "bit", "area_ta", "CE CS growth_patterns", "Shannon entropy of the patterns", "ours"),
        F(
            "necrosis_atypia",
            "1",
            "area_ta",
            "T L CE CS necrosis area_um2",
            "(frac_necrosis + share of T in CE > 4 · median area of L) / 2",
            "ours",
        ),
    ),
)
"""All features in their order; a SemanticProfile of a SemanticMap has exactly these."""

BY_NAME = {feature.name: feature for feature in FEATURES}

CORE = tuple(feature.name for feature in FEATURES if feature.core)
"""The preset `core`: the 53 features to begin with where patients are few."""
