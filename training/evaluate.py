"""Held-out figures of the model `cells`: scores with intervals, as it is and under changed conditions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from kras_plugins import Tile
from kras_profiler_cells import TOP, CellsOptions
from kras_profiler_cells.decode import Decode
from kras_profiler_cells.network import STRIDE, CellNet
from training.augment import MPP, remix
from training.fields import CLASSES, Field, at_mpp, centroids, in_box
from training.metrics import Tally, bootstrap, nearest_pairs, tally, tally_of_pairs

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, Int32, UInt8

    Find = Callable[[UInt8], tuple[Int32, list[str]]]
    Maps = Mapping[str, UInt8]
    Scores = Mapping[str, tuple[float, float, float]]

BLOCK = 250
"""Side in pixels of the blocks of a field that the bootstrap draws: 125 µm."""

DOT_REACH_UM = 4.0
"""How far from its dot the centroid of a found nucleus may lie: about the radius of a nucleus."""
_MOSTLY = 0.5


def finder(network: CellNet, **changed: float) -> Find:
    """The network with the profiler's own post-processing, for any image at 0.5 µm/px; with its default options unless
    `changed`."""
    decode = decoder(**changed)
    return lambda pixels: decoded(decode, maps_of(network, pixels), pixels)


def decoder(**changed: float) -> Decode:
    """The profiler's post-processing with its default options unless `changed`."""
    options = CellsOptions.model_validate(changed)
    limits = (options.min_area_um2, options.max_area_um2, options.min_prob, options.min_class_prob)
    return Decode(*limits, tuple(CLASSES))


def maps_of(network: CellNet, pixels: UInt8) -> Maps:
    """The network's maps of an image uint8[h w 3] of any size at 0.5 µm/px, which is mirrored at its edges to sides
    that the network accepts."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % STRIDE), (0, -w % STRIDE), (0, 0)), mode="symmetric")
    with torch.inference_mode():
        nucleus, distance, kinds, *_ = (m[0].numpy() for m in network(torch.from_numpy(padded[None])))
    return {"nucleus": nucleus, "distance": distance, "classes": kinds}


def decoded(decode: Decode, maps: Maps, pixels: UInt8) -> tuple[Int32, list[str]]:
    """Label map int32[h w] and the class of each nucleus, from the result of `maps_of`."""
    h, w = pixels.shape[:2]
    sides = maps["nucleus"].shape
    padded = np.pad(pixels, ((0, sides[0] - h), (0, sides[1] - w), (0, 0)), mode="symmetric")
    labels = decode.segment(maps, MPP)
    return labels[:h, :w], list(decode(maps, Tile(pixels=padded, mpp=MPP)).classes)


def evaluate(
    find: Find, fields: Sequence[Field], change: Callable[[Field], Field] | None = None, draws: int = 1000
) -> dict[str, Any]:
    """Scores of `dsb2018` (units: images) and `hgsc` (units: blocks of both fields), with how many there are.

    `change` turns a field into what the network is shown as if at 0.5 µm/px; None resamples it to that.
    """
    out: dict[str, Any] = {}
    shown = change or (lambda field: at_mpp(field, MPP))
    for name, chosen in (
        ("dsb2018", [f for f in fields if not f.kind.startswith("hgsc")]),
        ("hgsc", [f for f in fields if f.kind.startswith("hgsc")]),
    ):
        tallies = [t for f in chosen for t in tallies_of(find, shown(f), BLOCK if name == "hgsc" else None)]
        nuclei = sum(t.tp + t.fn for t in tallies)
        typed = {c: int(sum(t.typed[i, 0] + t.typed[i, 2] for t in tallies)) for i, c in enumerate(CLASSES)}
        scores: Scores = {k: v for k, v in bootstrap(tallies, CLASSES, draws).items() if not np.isnan(v[0])}
        out[name] = {"units": len(tallies), "nuclei": nuclei, "classes": typed, "scores": scores}
    return out


def tallies_of(find: Find, field: Field, block: int | None) -> list[Tally]:
    """One tally of a field, or one for each block of its scored part; a nucleus belongs where its centroid lies.

    Nuclei found where labels cannot be trusted are neither right nor wrong.
    """
    found, words = find(field.pixels)
    true_at, found_at = centroids(field.labels), centroids(found)
    if field.weight is not None:
        found_at[shares(found, field.weight < TOP) > _MOSTLY] = np.nan
    true_class = np.concatenate([field.classes, np.full(max(0, len(true_at) - len(field.classes)), -1)])
    # Where classes are unknown, a predicted class is neither right nor wrong.
    typed = bool(np.any(field.classes >= 0))
    found_class = np.array([-1, *(CLASSES.index(w) if typed and w in CLASSES else -1 for w in words)], np.int64)
    left, top, right, bottom = field.scored
    step = block or max(right - left, bottom - top)
    boxes = [
        (x, y, min(x + step, right), min(y + step, bottom))
        for y in range(top, bottom, step)
        for x in range(left, right, step)
    ]
    return [
        tally(
            field.labels,
            found,
            true_class[: len(true_at)].astype(np.int64),
            found_class,
            in_box(true_at, box),
            in_box(found_at, box),
            len(CLASSES),
            _inside(box, found.shape),
        )
        for box in boxes
    ]


def shares(labels: Int32, where: Bool) -> Float64:
    """The share of each label's pixels that lies `where`, float64[label]; 0 for those that have none."""
    n = int(labels.max(initial=0)) + 1
    inside, size = (np.bincount(labels[chosen], minlength=n) for chosen in (where, labels >= 0))
    return np.asarray(inside / np.maximum(size, 1))


def units_of(find: Find, field: Field) -> list[Tally]:
    """Tallies of the parts of a field at 0.5 µm/px that a bootstrap draws, those without any nucleus left out."""
    if field.dots is not None:
        tallies = [dotted_tally(find, field)]
    else:
        tallies = tallies_of(find, field, BLOCK if max(field.labels.shape) > 2 * BLOCK else None)
    return [t for t in tallies if t.tp + t.fp + t.fn]


def dotted_tally(find: Find, field: Field, reach_um: float = DOT_REACH_UM) -> Tally:
    """One tally of a field with dots: a nucleus is found where its centroid lies within `reach_um` of a dot.

    The nearest of both pair first, each once. Outlines are not judged.
    """
    found, words = find(field.pixels)
    assert field.dots is not None
    at = centroids(found)[1:]
    given = np.array([CLASSES.index(w) if w in CLASSES else -1 for w in words[: len(at)]], np.int64)
    here = np.isfinite(at[:, 0])  # not in what the image was padded with
    at, given = at[here], given[here]
    truth, mine = nearest_pairs(field.dots, at, reach_um / field.mpp)
    return tally_of_pairs(field.classes[1:].astype(np.int64), given, truth, mine, len(CLASSES))


def _inside(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> Bool:
    left, top, right, bottom = box
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def conditions() -> dict[str, Callable[[Field], Field]]:
    """What a slide from elsewhere may look like, by name; its stated scale is always 0.5 µm/px."""
    return {
        "as it is": lambda f: at_mpp(f, MPP),
        "scanned at 0.25 µm/px": lambda f: at_mpp(at_mpp(f, 0.25), MPP),
        "0.40 µm/px taken for 0.5": lambda f: at_mpp(f, 0.40),
        "0.60 µm/px taken for 0.5": lambda f: at_mpp(f, 0.60),
        "0.25 µm/px taken for 0.5": lambda f: at_mpp(f, 0.25),
        "JPEG quality 50": _shown(jpeg),
        "defocus of 0.75 µm": _shown(lambda p: ndimage.gaussian_filter(p, (1.5, 1.5, 0))),
        "pale stain": _shown(lambda p: remix(p, (0.6, 0.7, 1.0))),
        "dark stain": _shown(lambda p: remix(p, (1.5, 1.4, 1.0))),
        "hematoxylin bluer, eosin redder": _shown(lambda p: remix(p, (1, 1, 1), ((0.72, 0.62, 0.16), (0.1, 0.9, 0.3)))),
        "hematoxylin redder, eosin paler": _shown(
            lambda p: remix(p, (1, 0.6, 1), ((0.52, 0.78, 0.36), (0.1, 0.95, 0.1)))
        ),
    }


def jpeg(pixels: UInt8, quality: int = 50) -> UInt8:
    """The image saved as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _shown(alter: Callable[[UInt8], UInt8]) -> Callable[[Field], Field]:
    def change(field: Field) -> Field:
        plain = at_mpp(field, MPP)
        return replace(plain, pixels=np.asarray(alter(plain.pixels)))

    return change
