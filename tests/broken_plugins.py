"""For every check a plug-in that breaks its rule and no other: a good one, and what is changed in it.

`also`: further checks that cannot but fail with it, since they look at the same thing from another side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONFORMING = Path(__file__).parent / "conforming"
"""Good plug-ins, one a file."""


@dataclass(frozen=True)
class Broken:
    check: str
    good: str
    old: str
    new: str
    also: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        text = (CONFORMING / f"{self.good}.py").read_text()
        assert text.count(self.old) == 1, f"{self.good}: {self.old!r}"
        return text.replace(self.old, self.new)


MEAN = "return np.float32(options.scale) * tiles.astype(np.float32).mean(axis=(1, 2))"
FEATURES = 'return infer["small"]({"tiles": tiles})["features"]'
WITH_OPTION = 'scale: float = Field(1.0, gt=0, description="what means are multiplied by")'
CELLS = "x, y, area = x[kept], y[kept], area[kept]"

EVERY = [
    Broken("hooks", "plain", "def kras_extractors", "def kras_extractor"),
    Broken("cheap_import", "plain", "import numpy as np", "import numpy as np\nimport tritonclient"),
    Broken("options_valid", "plain", "what means are multiplied by", " "),
    Broken("unknown_option_refused", "plain", WITH_OPTION, f"model_config = {{'extra': 'ignore'}}\n    {WITH_OPTION}"),
    Broken(
        "options_stored",
        "plain",
        WITH_OPTION,
        f"{WITH_OPTION}\n    thing: object = Field(default_factory=object, description='what JSON has no word for')",
    ),
]

NETWORKS = [
    Broken("tile_described", "plain", "mpp=2.0", "mpp=40.0"),
    Broken("models_described", "network", 'licence="Apache-2.0"', 'licence=""', ("catalog_described",)),
    Broken(
        "models_cheap",
        "plain",
        "return TileSpec(px=32, mpp=2.0)",
        "import socket\n    try:\n        socket.create_connection(('localhost', 9))\n    except OSError:\n"
        "        pass\n    return TileSpec(px=32, mpp=2.0)",
    ),
    Broken("exported", "network", "return self.last(means)", "return self.last(means) if means.sum() > 1 else means"),
    Broken("builds_alike", "network", "torch.manual_seed(0)", "torch.seed()", ("local_parity",)),
    Broken(
        "local_parity",
        "network",
        "return self.last(means)",
        "return self.last(means - means.mean(dim=0))",
        ("batch_size", "many_threads"),
    ),
]

TILES = [
    Broken("created", "plain", "def embed(tiles):", "raise RuntimeError('no')\n\n    def embed(tiles):"),
    Broken(
        "one_tile",
        "plain",
        MEAN,
        "return tiles.squeeze().astype(np.float32).mean(axis=(1, 2))",
        ("batch_size", "many_threads"),
    ),
    Broken("no_tiles", "plain", MEAN, f"tiles = tiles if len(tiles) else np.zeros((1, 32, 32, 3))\n        {MEAN}"),
    Broken(
        "order_kept",
        "plain",
        MEAN,
        MEAN.replace("return", "found =") + "\n        return np.sort(found, axis=0)",
        ("batch_size", "many_threads"),
    ),
    Broken("batch_size", "plain", MEAN, f"{MEAN} - tiles.sum(dtype=np.float32) / 3072", ("many_threads",)),
    Broken("deterministic", "plain", MEAN, f"{MEAN} + np.random.rand(len(tiles), 3).astype(np.float32) / 1000"),
    Broken(
        "input_unchanged",
        "plain",
        MEAN,
        MEAN.replace("return", "found =") + "\n        tiles[:] = 0\n        return found",
    ),
    Broken(
        "many_threads",
        "plain",
        "def embed(tiles):",
        "def embed(given):\n        import time\n\n        embed.tiles = given\n        time.sleep(0.002)\n"
        "        tiles = embed.tiles",
    ),
    Broken(
        "engine_error_told",
        "network",
        FEATURES,
        f"from kras_plugins import BackendError\n        try:\n            {FEATURES}\n        except BackendError:\n"
        "            import numpy as np\n\n            return np.zeros((len(tiles), 5), np.float32)",
        ("wrong_tiles_refused", "no_tiles"),
    ),
    Broken(
        "wrong_tiles_refused",
        "network",
        FEATURES,
        f"import numpy\n\n        tiles = numpy.resize(tiles, (len(tiles), 32, 32, 3)).astype('u1')\n"
        f"        {FEATURES}",
    ),
    Broken("features_described", "plain", MEAN, f"{MEAN}.astype(np.float64)"),
    Broken(
        "finite", "plain", MEAN, f"with np.errstate(all='ignore'):\n            {MEAN} / (tiles.max(axis=(1, 2)) > 0)"
    ),
    Broken(
        "catalog_described",
        "network",
        'return {"small":',
        'return {"large": Weights(source="hf:a/b/c", licence="MIT"), "small":',
    ),
]

PROFILERS = [
    Broken("provides_known", "spots", '{"lymphocyte", "area_um2"}', '{"lymphocyte", "area_um2", "tumour"}'),
    Broken("decoded", "spots", '["lymphocyte"] * len(x)', '["lymphocyte"] * (len(x) - 1)', ("seams",)),
    Broken("cells_provided", "spots", '["lymphocyte"] * len(x)', '["tumor"] * len(x)'),
    Broken("cells_in_tile", "spots", CELLS, f"{CELLS}\n    x, y = x - 32, y - 32"),
    Broken(
        "decoded_in_workers",
        "spots",
        "decode=lambda options: decode",
        "decode=lambda options: lambda o, t: decode(o, t)",
    ),
    Broken(
        "wanted_kept",
        "spots",
        CELLS,
        f"(left, top), (right, bottom) = tile.wanted or ((-1, -1), (9999, 9999))\n"
        f"    kept &= (y > left) & (y < right) & (x > top) & (x < bottom)\n    {CELLS}",
    ),
    Broken("seams", "spots", CELLS, f"kept &= (x > 50) & (x < 270)\n    {CELLS}"),
    Broken("seams", "spots", CELLS, f"kept &= (y > 50) & (y < 270)\n    {CELLS}"),
    Broken("blank_tiles", "spots", CELLS, f"{CELLS}\n    area = area / (area.max() * 0 + 1)"),
]

LOADERS = [
    Broken(
        "absent_told", "files", 'raise SlideError(f"{file}: no such file", "make it")', "raise KeyError(slide.slide_id)"
    ),
    Broken("loaded_valid", "files", "np.load(file)", "np.load(file).astype(np.float64)"),
    Broken(
        "pixels_not_opened",
        "files",
        "features = np.load(file)",
        "features = np.load(file)\n    _ = slide.path and slide.path.read_bytes()",
    ),
    Broken("loaded_again", "files", "np.load(file)", "np.load(file) + np.random.rand(1).astype('f4')"),
]

SCORES = "return scores.astype(np.float32)"
WEIGHTS = "table[labels == 1].mean(axis=0) - table[labels == 0].mean(axis=0)"
TEXT = "json.dumps(self.weights.tolist())"

CLASSIFIERS = [
    Broken(
        "fits",
        "means",
        "values = sample.profile.values",
        "values = sample.profile.values\n    values[0] = 0",
        ("input_unchanged",),
    ),
    Broken("scores_described", "means", SCORES, "return scores"),
    Broken(
        "higher_for_positive", "means", WEIGHTS, "table[labels == 0].mean(axis=0) - table[labels == 1].mean(axis=0)"
    ),
    Broken("deterministic", "means", WEIGHTS, f"{WEIGHTS} + np.random.rand()", ("saved_alike",)),
    Broken("saved_alike", "means", TEXT, f"{TEXT} + ' ' * (id(self) // 16 % 9999)"),
    Broken(
        "scored_alone",
        "means",
        SCORES,
        "return (scores - scores.mean()).astype(np.float32)",
        ("explained", "higher_for_positive", "not_finite_told", "strange_features_told"),
    ),
    Broken(
        "input_unchanged",
        "means",
        "values = sample.profile.values",
        "values = sample.profile.values\n    if values.flags.writeable:\n        values[0] = 0",
    ),
    Broken("saved_and_loaded", "means", TEXT, "json.dumps(self.weights.round(1).tolist())"),
    Broken(
        "saved_and_loaded",
        "means",
        '(folder / "means.json").read_text()',
        '(folder.parent / "saved" / "means.json").read_text()',
    ),
    Broken(
        "saved_and_loaded",
        "means",
        "weights=None):\n        self.weights = weights",
        "weights=None, shared={}):\n        self.__dict__ = shared\n        shared.setdefault('weights', weights)",
        ("explained",),  # by the time it is asked, the other model has taken its place
    ),
    Broken(
        "no_pickle",
        "means",
        f'(folder / "means.json").write_text({TEXT})',
        f"(folder / 'means.json').write_text({TEXT})\n        (folder / 'm.bin').write_bytes(b'\\x80\\x04N.')",
    ),
    Broken("explained", "means", "values=row(sample) * self.weights", "values=2 * row(sample) * self.weights"),
    Broken(
        "no_leaks",
        "means",
        SCORES,
        f"self.weights += 1e-6 * np.mean([row(s) for s in samples], axis=0)\n        {SCORES}",
        ("saved_alike", "saved_and_loaded", "scored_alone"),
    ),
    Broken(
        "one_class_refused",
        "means",
        'raise ValueError("both classes are needed")',
        "labels = np.arange(len(labels)) % 2",
    ),
    Broken("not_finite_told", "means", "np.isnan(values)", "~np.isfinite(values)"),
    Broken(
        "strange_features_told",
        "means",
        "    return np.where",
        "    values = values if n is None else np.resize(values, n)\n    return np.where",
    ),
]

PIXELS = "return self.pages[level][y : y + height, x : x + width].copy()"

READERS = [
    Broken("suffixes_described", "pages", '(".tiff", ".png")', '(".tiff", ".png"), preferred=(".svs",)'),
    Broken("opens", "pages", "self.mpp = (0.5, 0.5)", "self.mpp = (0.5, 0.25)"),
    Broken("opens", "pages", "        if path.suffix", "        self.mpp = (0.25, 0.25)\n        if path.suffix"),
    Broken("opens", "pages", "Level(width=p.shape[1], height=p.shape[0])", "p.shape[1::-1]", ("transparent_is_white",)),
    Broken("reference_pixels", "pages", PIXELS, PIXELS.replace(".copy()", "[..., ::-1]")),
    Broken("regions_agree", "pages", PIXELS, f"x -= x % 2\n        {PIXELS}", ("many_threads",)),
    Broken("regions_agree", "pages", PIXELS, f"x -= (level > 0) * (x % 2)\n        {PIXELS}"),
    Broken(
        "levels_agree",
        "pages",
        "return [page.asarray() for page in tiff.pages]",
        "return [page.asarray()[:: 1 if i == 0 else -1] for i, page in enumerate(tiff.pages)]",
    ),
    Broken(
        "transparent_is_white",
        "pages",
        'Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")',
        'image.convert("RGB")',
    ),
    Broken("many_threads", "pages", "with self.lock:", "if True:"),
    Broken(
        "no_identifiers", "pages", '{"format": "TIFF"}', '{"format": "TIFF", "about": str(tiff.pages[0].description)}'
    ),
    Broken("no_identifiers", "pages", '{"format": "TIFF"}', '{"format": "TIFF", "source": str(path)}'),
    Broken("closes_twice", "pages", "self.pages = []", "del self.pages"),
    Broken("damage_told", "pages", 'raise SlideError(f"{path}: {e}", "copy it again") from e', "raise"),
]

RESULTS = "return {t.name: value for t, value in zip(self.spec.outputs, results, strict=True)}"

BACKENDS = [
    Broken("opened", "eager", 'precision = "f32"', 'precision = "float32"'),
    Broken("loaded", "eager", "in_flight = 2", "in_flight = 0"),
    Broken("loaded", "eager", "batch = 4", "batch = 0"),
    Broken("numbers", "eager", "value.numpy() for value", "1.5 * value.numpy() for value"),
    Broken(
        "short_batches",
        "eager",
        RESULTS,
        RESULTS.replace("value for t", "__import__('numpy').resize(value, (4, *value.shape[1:])) for t"),
        ("wrong_input_told",),
    ),
    Broken(
        "deterministic",
        "eager",
        "value.numpy() for value",
        "(value * (1 + time.monotonic() % 1 / 1e5)).to(value.dtype).numpy() for value",
        ("many_threads",),
    ),
    Broken(
        "results_kept",
        "eager",
        RESULTS,
        "for i, value in enumerate(results):\n            if len(value) == 4:\n"
        "                kept = self.__dict__.setdefault(f'out{i}', value)\n                kept[:] = value\n"
        f"                results[i] = kept\n        {RESULTS}",
        ("many_threads",),
    ),
    Broken("many_threads", "eager", "with self.lock:", "if True:"),
    Broken("missing_weights_told", "eager", "self.module = build_module(spec)", "self.module = spec.build(None)"),
    Broken("wrong_input_told", "eager", 'inputs.get("tiles")', "next(iter(inputs.values()))"),
    Broken("reports", "eager", '{"calls": 0}', '{"calls": object()}'),
    Broken(
        "closes",
        "eager",
        'raise BackendError("it was closed")',
        "return {'features': np.zeros((4, 8), 'f4'), 'map': None}",
    ),
]

BROKEN = [*EVERY, *NETWORKS, *TILES, *PROFILERS, *LOADERS, *CLASSIFIERS, *READERS, *BACKENDS]
