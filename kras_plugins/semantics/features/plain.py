"""A plain name for each feature, and one sentence on what it means, for readers of a case page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kras_plugins.semantics.features.table import BY_NAME


@dataclass(frozen=True)
class Plain:
    """A feature's `name` in plain words, without its unit, and a `sentence` on what a high value means."""

    name: str
    sentence: str


_TABLE = """
area_tissue | Analyzed tissue | All tissue of the patient's slides that was analyzed.
area_ce | Cancer epithelium | The area covered by nests of tumor cells.
area_cs | Cancer stroma | The area of connective tissue that belongs to the tumor.
area_ta | Tumor area | Cancer epithelium and cancer stroma together.
area_necrosis | Necrosis | The area of dead tissue.
area_normal_lung | Normal lung | The area of lung without tumor.
frac_ce | Share of epithelium in the tumor | High where tumor cells leave little room for stroma.
tsr | Share of stroma in the tumor | The tumor-stroma ratio: high where the tumor is rich in stroma.
log_ce_cs | Epithelium over stroma (logarithm) | Above zero where there is more epithelium than stroma.
frac_ta | Share of tumor in the tissue | High where most of the tissue on the slides is tumor.
frac_necrosis | Share of necrosis in the tumor | High where much of the tumor is dead.
frac_normal | Share of normal lung in the tissue | High where the slides show much lung without tumor.
frac_mucin | Share of mucin in the tumor | High in tumors that make much mucus.
frac_pigment | Share of pigment in the tissue | High where much carbon (anthracosis) is deposited.
n_tissue_fragments | Pieces of tissue | Many in biopsies, few in resections.
itil | Lymphocytes in epithelium | Intraepithelial lymphocytes: high where they lie among the tumor cells.
stil | Lymphocytes in stroma | Stromal lymphocytes (sTIL): high where the stroma is infiltrated.
til_ta | Lymphocytes in the tumor | Lymphocytes in epithelium and stroma together.
til_tissue | Lymphocytes in all tissue | Lymphocytes anywhere on the slides, inside and outside of the tumor.
tc_ce | Tumor cells in epithelium | High where tumor cells are small or densely packed.
tc_ta | Tumor cells in the tumor | Cellularity of the tumor, its stroma included.
tc_cs | Tumor cells in stroma | High where single tumor cells lie in the stroma.
fib_cs | Fibroblasts in stroma | High where the stroma is rich in cells.
fib_ta | Fibroblasts in the tumor | High in desmoplastic tumors.
fib_ce | Fibroblasts in epithelium | High where thin strands of stroma cross the nests.
mac_ce | Macrophages in epithelium | High where macrophages lie among the tumor cells or in lumina.
mac_cs | Macrophages in stroma | High where the stroma is rich in macrophages.
plasma_cs | Plasma cells in stroma | High where the stroma is rich in plasma cells.
neut_ta | Neutrophils in the tumor | High where granulocytes infiltrate the tumor.
eos_ta | Eosinophils in the tumor | High where eosinophils infiltrate the tumor.
endo_ta | Endothelial cells in the tumor | High where the tumor has many small vessels.
cell_ta | All nuclei in the tumor | Cellularity of the tumor, all kinds of cells together.
mitosis_ta | Mitoses in the tumor | High where the tumor proliferates.
til_peri | Lymphocytes along the nests | Lymphocytes in the stroma within 200 µm of cancer epithelium.
til_normal | Lymphocytes outside the tumor | Lymphocytes in tissue that is neither epithelium nor stroma of the tumor.
purity | Share of tumor cells among nuclei | Tumor purity: high where few other cells lie within the tumor.
lt_ratio | Lymphocytes per tumor cell | High where there are many lymphocytes for the number of tumor cells.
lym_frac | Share of lymphocytes among nuclei | High where the tumor is rich in lymphocytes.
itlr | Lymphocytes within dense tumor, per tumor cell | High where lymphocytes have entered dense nests.
atlr | Lymphocytes beside dense tumor, per tumor cell | High where lymphocytes lie at the edge of dense nests.
dtlr | Lymphocytes far from tumor cells, per tumor cell | High where lymphocytes stay away from tumor cells.
il_share | Share of lymphocytes that are in epithelium | High where lymphocytes enter the nests and do not stay outside.
log_itil_stil | Lymphocytes, epithelium over stroma (logarithm) | Above zero where they are denser in epithelium.
fib_tum | Fibroblasts per tumor cell | High in desmoplastic tumors with few tumor cells.
mac_lym | Macrophages per lymphocyte | High where macrophages predominate among immune cells.
neut_lym | Neutrophils per lymphocyte | High where granulocytes predominate among immune cells.
fib_lym | Fibroblasts per lymphocyte | High where the stroma is fibrous and little infiltrated.
is | Inflamed share of the tumor | The share of squares of 1 mm² with many lymphocytes in epithelium.
ies | Immune-excluded share of the tumor | The share of squares of 1 mm² with lymphocytes in stroma alone.
ids | Immune-desert share of the tumor | The share of squares of 1 mm² with few lymphocytes.
ip_class | Immune phenotype | 2 is inflamed, 1 excluded, 0 desert.
iip_frac | Share of inflamed squares | The share of squares of 1 mm² that are inflamed.
iip_pos | Inflamed in a fifth of the tumor or more | 1 where at least 20 % of the squares of 1 mm² are inflamed.
grid_itil_p10 | Lymphocytes in epithelium, poorest tenth | The density in the least infiltrated squares of 1 mm².
grid_itil_p50 | Lymphocytes in epithelium, median square | The density in the median square of 1 mm².
grid_itil_p90 | Lymphocytes in epithelium, richest tenth | The density in the most infiltrated squares of 1 mm².
grid_itil_cv | Unevenness of lymphocytes in epithelium | High where some squares of 1 mm² have many and others few.
grid_stil_p50 | Lymphocytes in stroma, median square | The density in the median square of 1 mm².
grid_stil_p90 | Lymphocytes in stroma, richest tenth | The density in the most infiltrated squares of 1 mm².
grid_stil_cv | Unevenness of lymphocytes in stroma | High where some squares of 1 mm² have many and others few.
grid_til_gini | Inequality of lymphocytes over the tumor | High where few squares of 1 mm² have most of the lymphocytes.
ip_entropy | Mixture of immune phenotypes | High where inflamed, excluded and desert squares lie in one tumor.
n_grids | Squares of tumor | How many squares of 1 mm² have enough tumor to be judged.
d_tl_p50 | Distance from tumor cell to nearest lymphocyte, median | High where most are far from any lymphocyte.
d_tl_p10 | Distance from tumor cell to nearest lymphocyte, nearest tenth | Low where some lymphocytes touch tumor cells.
d_tl_p90 | Distance from tumor cell to nearest lymphocyte, farthest tenth | High where parts of the tumor have none.
d_lt_p50 | Distance from lymphocyte to nearest tumor cell, median | High where lymphocytes stay away from tumor cells.
d_lt_p90 | Distance from lymphocyte to nearest tumor cell, farthest tenth | High where some stray far from tumor.
d_ll_p50 | Distance between neighboring lymphocytes, median | Low where lymphocytes lie in clusters.
d_tt_p50 | Distance between neighboring tumor cells, median | Low where tumor cells are small or densely packed.
t_near_l_20 | Tumor cells with a lymphocyte within 20 µm | High where lymphocytes touch many tumor cells.
t_near_l_50 | Tumor cells with a lymphocyte within 50 µm | High where most tumor cells have a lymphocyte nearby.
t_near_l_100 | Tumor cells with a lymphocyte within 100 µm | High where hardly any tumor cell is far from lymphocytes.
l_within_50_of_t | Lymphocytes within 50 µm of a tumor cell | High where many surround the tumor cells.
t_within_30_of_l | Tumor cells within 30 µm of a lymphocyte | High where lymphocytes lie among tumor cells.
g_tl_auc | Nearness of lymphocytes to tumor cells | High where tumor cells have a lymphocyte close by.
nn_ratio | Avoidance of tumor cells by lymphocytes | Above 1 where they lie farther from tumor cells than by chance.
ll_scale | Size of lymphocyte aggregates | The distance at which lymphocytes cluster most.
bhattacharyya | Overlap of tumor cells and lymphocytes | High where both are distributed alike over the tumor.
sorensen | Squares shared by tumor cells and lymphocytes | High where both are found in the same squares of 100 µm.
pearson_tl | Correlation of tumor cells and lymphocytes | Above zero where both are dense in the same places.
moran_l | Clustering of lymphocytes over 100 µm | High where squares rich in lymphocytes lie side by side.
geary_l | Contrast of lymphocytes between neighboring squares | Low where neighbors have similar numbers of them.
moran_t | Clustering of tumor cells over 100 µm | High where squares rich in tumor cells lie side by side.
lee_tl | Joint clustering of tumor cells and lymphocytes | Above zero where both are dense in the same regions.
local_entropy | Local mixture of tumor cells and lymphocytes | High where both are found in the same small squares.
lacunarity_l | Gaps between lymphocytes | High where lymphocytes are clumped and leave large gaps.
immune_hs_frac | Hotspots of lymphocytes | The share of the tumor where lymphocytes are unusually dense.
cancer_hs_frac | Hotspots of tumor cells | The share of the tumor where tumor cells are unusually dense.
co_hs_immune | Lymphocyte hotspots that are dense in tumor cells | High where lymphocytes gather at the densest tumor.
co_hs_cancer | Tumor hotspots that are dense in lymphocytes | High where the densest tumor is infiltrated.
co_hs_all | Hotspots of both lymphocytes and tumor cells | The share of the tumor where both are unusually dense.
immune_hs_ce | Epithelium within lymphocyte hotspots | High where lymphocytes gather in nests and not in stroma.
cold_l_frac | Regions without lymphocytes | The share of the tumor where lymphocytes are unusually few.
gi_max | Strongest lymphocyte hotspot | How far the densest aggregate of lymphocytes stands out.
assortativity | Separation of tumor cells and lymphocytes | High where cells have neighbors of their own kind.
edge_tt | Contacts among tumor cells | The share of contacts between neighbors that are between tumor cells.
edge_ll | Contacts among lymphocytes | The share of contacts between neighbors that are between lymphocytes.
edge_tl | Contacts of tumor cells with lymphocytes | The share of contacts between neighbors that join both kinds.
mixing | Mixing score | Contacts of tumor cells with lymphocytes, per contact among lymphocytes.
nhood_excess_tl | Contacts of both kinds, against chance | Below zero where they touch less than by chance.
degree_t | Neighbors of a tumor cell | High where tumor cells are densely packed.
edge_mean | Distance between neighboring cells | Low where cells are densely packed.
edge_cv | Unevenness of distances between neighbors | High where packing is irregular.
clustering | Clustering of the cell graph | High where neighbors of a cell are neighbors of one another.
l_component_max | Largest group of lymphocytes | The share of lymphocytes that lie in the largest group.
l_components | Groups of lymphocytes | Groups of 20 lymphocytes or more that touch one another.
voronoi_cv_t | Unevenness of space around tumor cells | High where tumor cells are packed irregularly.
knn_l_of_t | Lymphocytes among the 10 nearest of a tumor cell | High where many surround the tumor cells.
til_slope | Change of lymphocytes across the margin | Above zero where they become denser from nest to stroma.
til_in_out | Lymphocytes inside over outside of the margin | High where they cross from stroma into nests.
til_depth | Depth of lymphocytes in the nests | How far lymphocytes have entered the epithelium.
interface_len | Margin between epithelium and stroma | The length of all margins of nests.
interface_density | Margin per epithelium | High where nests are small or have jagged margins.
til_margin_stroma | Lymphocytes on the stroma's side of the margin | High where they stop at the margin of nests.
n_ce_components | Nests of epithelium | How many separate nests touch stroma.
tfi | Tumor fragmentation index | High where the tumor grows in many small nests.
tfi_high | Fragmented tumor | 1 where there are 35 nests per mm² or more.
ce_component_p50 | Size of nests, median | High where nests are large.
ce_component_gini | Inequality of nests | High where there are few large and many small nests.
ce_largest_share | Largest nest | The share of the epithelium that is one connected nest.
nest_width | Width of nests | High where nests are broad, low in thin strands.
ce_solidity | Compactness of nests | Near 1 where nests are convex, low where they are branched.
ce_circularity | Roundness of nests | Near 1 where nests are round with smooth margins.
interface_fractal | Jaggedness of the margin | High where the margin between epithelium and stroma is intricate.
lumen_share | Lumina | The share of clear holes in the epithelium: high in glandular growth.
stroma_width | Width of stroma | High where broad stroma separates the nests.
tls_count | Lymphoid aggregates | Dense clusters of lymphocytes, a proxy of tertiary lymphoid structures.
tls_density | Lymphoid aggregates per tumor | Dense clusters of lymphocytes relative to the size of the tumor.
tls_area_share | Area of lymphoid aggregates | The share of the tumor that dense clusters of lymphocytes cover.
tls_ce_distance | Distance of lymphoid aggregates from the nests | Low where aggregates lie at or in the epithelium.
til_cluster_density | Clusters of lymphocytes | How many clusters of lymphocytes the tumor has relative to its size.
til_cluster_size | Size of lymphocyte clusters | How many lymphocytes a cluster has on average.
til_cluster_size_cv | Unevenness of lymphocyte clusters | High where there are both large and small clusters.
til_ball_hall | Extent of lymphocyte clusters | High where clusters are spread out.
til_c_index | Separation of lymphocyte clusters | Low where clusters are clearly separated.
nuc_area_mean | Size of tumor nuclei, mean | High where nuclei are enlarged.
nuc_area_sd | Spread of the size of tumor nuclei | High where nuclei differ in size.
nuc_area_p10 | Size of tumor nuclei, smallest tenth | The size of the small nuclei.
nuc_area_p50 | Size of tumor nuclei, median | High where nuclei are enlarged.
nuc_area_p90 | Size of tumor nuclei, largest tenth | High where some nuclei are much enlarged.
nuc_area_cv | Anisokaryosis | High where tumor nuclei differ in size relative to their mean.
nuc_area_p90_p50 | Largest tumor nuclei over the median | High where some nuclei are far larger than most.
nuc_perimeter_mean | Perimeter of tumor nuclei, mean | High where nuclei are large or irregular.
nuc_perimeter_cv | Unevenness of the perimeter of tumor nuclei | High where nuclei differ in size or shape.
nuc_major_mean | Length of tumor nuclei, mean | High where nuclei are large or elongated.
nuc_minor_mean | Width of tumor nuclei, mean | High where nuclei are large or round.
nuc_ecc_mean | Elongation of tumor nuclei, mean | 0 is a circle, near 1 a spindle.
nuc_ecc_sd | Spread of the elongation of tumor nuclei | High where round and elongated nuclei lie together.
nuc_solidity | Smoothness of tumor nuclei | Near 1 where nuclei have no notches.
nuc_circularity | Roundness of tumor nuclei | Near 1 where nuclei are round with smooth outlines.
nuc_elongated | Share of elongated tumor nuclei | High where many nuclei are spindles.
nuc_h_od_mean | Darkness of tumor nuclei, mean | High where nuclei are hyperchromatic, or strongly stained.
nuc_h_od_sd | Coarseness of chromatin | High where hematoxylin is uneven within a nucleus.
nuc_h_entropy | Disorder of chromatin | High where hematoxylin has many levels within a nucleus.
nuc_orient_coherence | Alignment of tumor nuclei | Near 1 where neighboring nuclei point in the same direction.
lym_area_median | Size of lymphocyte nuclei, median | A control of scan and segmentation: alike in all patients.
tl_area_ratio | Tumor nuclei over lymphocyte nuclei | The size of tumor nuclei, with lymphocytes as the ruler.
p_luad | Probability of adenocarcinoma | A histology model's prediction of the tumor's type; a confounder.
solid_share | Share of solid growth | High where adenocarcinoma grows in sheets without glands.
mucinous_share | Share of mucinous growth | High where tumor cells are filled with mucus.
lepidic_papillary_share | Share of lepidic and papillary growth | High where tumor grows along alveoli or in papillae.
pattern_entropy | Mixture of growth patterns | High where several patterns share the tumor.
necrosis_atypia | Necrosis with atypia | High where much is necrotic and many nuclei are four times a lymphocyte's.
"""

_RIPLEY = {"tt": "tumor cells", "ll": "lymphocytes", "tl": "lymphocytes around tumor cells"}
_GLCM = {
    "contrast": ("Contrast of chromatin", "High where dark and pale points of chromatin lie side by side."),
    "correlation": ("Smoothness of chromatin", "High where chromatin changes gradually."),
    "energy": ("Uniformity of chromatin", "High where chromatin is even."),
    "homogeneity": ("Homogeneity of chromatin", "High where neighboring points of chromatin are alike."),
}


@cache
def _plain() -> dict[str, Plain]:
    rows = (line.split(" | ") for line in _TABLE.strip().splitlines())
    found = {feature: Plain(name, sentence) for feature, name, sentence in rows}
    for r in (25, 50, 100):
        for pair, who in _RIPLEY.items():
            found[f"ripley_{pair}_{r}"] = Plain(
                f"Clustering of {who} within {r} µm", "Above zero where they lie closer together than by chance."
            )
    for r in (20, 50, 100, 200):
        found[f"pcf_tl_{r}"] = Plain(
            f"Lymphocytes {r} µm from tumor cells, against chance", "Above 1 where there are more than by chance."
        )
    for side in (50, 100, 200):
        found[f"mh_{side}"] = Plain(
            f"Colocalization of tumor cells and lymphocytes over {side} µm",
            "Near 1 where both are distributed alike over the tumor, near 0 where they are apart.",
        )
    for low, high in ((-150, -100), (-100, -50), (-50, 0), (0, 50), (50, 100), (100, 200), (200, 300), (300, 500)):
        near, far = sorted((abs(low), abs(high)))
        feature = f"til_{_signed(low)}_{_signed(high)}"
        inside = "inside the nests" if low < 0 else "outside the nests"
        found[feature] = Plain(
            f"Lymphocytes {near} to {far} µm {inside}",
            "Their density at this distance from the margin of the epithelium.",
        )
    for key, (name, sentence) in _GLCM.items():
        found[f"nuc_glcm_{key}"] = Plain(name, sentence)
    for phenotype in ("inflamed", "excluded", "desert"):
        found[f"ip_class:{phenotype}"] = Plain(
            f"Immune phenotype is {phenotype}", "1 where the tumor as a whole is called so, else 0."
        )
    return found


def _signed(um: int) -> str:
    return f"m{-um}" if um < 0 else str(um)


def plain(feature: str) -> Plain:
    """The plain name of a feature, or of a column that classifiers make of it; one made elsewhere keeps its name."""
    return _plain().get(feature) or Plain(feature, "")


def unit_of(feature: str) -> str:
    """The unit to print after a feature's value: "" where it has none."""
    unit = BY_NAME[feature].unit if feature in BY_NAME else ""
    return {"1": "", "class": "", "0/1": "", "1/mm²": "per mm²"}.get(unit, unit)
