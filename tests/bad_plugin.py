"""A plug-in that misbehaves on request: `how` it does, `at` which call, and whether at the first one only.

It is given as a loose file or as an installed distribution (`installed`), and misbehaves as third parties' code does.
"""

from __future__ import annotations

from pathlib import Path

TROUBLE = '''
import os, sys, time
from pathlib import Path

class Odd(BaseException):
    """No Exception."""

class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError("not even that")

class Unsendable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")

def trouble(how):
    if how == "error":
        raise ValueError("no luck")
    if how == "exit":
        sys.exit(3)
    if how == "odd":
        raise Odd("odd thing")
    if how == "interrupt":
        raise KeyboardInterrupt("of its own")
    if how == "missing":
        import a_package_that_is_not_there
    if how == "unshowable":
        raise Unshowable
    if how == "unsendable":
        raise Unsendable(1, 2)
    if how == "stop":
        raise StopIteration("enough")
    if how == "hang":
        while "KRAS_TEST_LET_GO" not in os.environ:
            time.sleep(0.05)
    if how == "die":
        os._exit(7)
    if how == "crash":
        import ctypes
        ctypes.string_at(0)
    if how == "print":
        print("said by Python")
        os.write(1, b"said by C\\n")
        os.system("echo said by a child")
'''

PLUGIN = (
    TROUBLE
    + """
import numpy as np
from pydantic import Field
from kras_plugins import (ClassifierPlugin, Explanation, ExtractorPlugin, Options, ProfilerPlugin, SemanticProfile,
                          TileCells, TileSpec, hookimpl)

class Bad(Options):
    how: str = Field("", description="what it does, or several things with commas, one a call")
    at: str = Field("", description="in which call")
    turns: str = Field("", description="a folder in which is noted what was done, by any process")

def maybe(options, at):
    if options.at != at:
        return
    if not options.turns:
        trouble(options.how)
    for how in options.how.split(",") if options.turns else ():
        try:
            os.close(os.open(Path(options.turns) / how, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return trouble(how)

class Cells:
    def __init__(self, options):
        self.options, self.decode = options, Decode(options)
    def predict(self, tiles):
        maybe(self.options, "predict")
        return {"x": tiles[:, :1, :1, 0]}

class Decode:
    def __init__(self, options):
        self.options = options
    def __call__(self, outputs, tile):
        maybe(self.options, "decode")
        half = np.array([tile.pixels.shape[0] / 2], "float32")
        return TileCells(x=half, y=half, classes=["tumor"])

def made(options, infer):
    maybe(options, "create")
    def embed(tiles):
        maybe(options, "embed")
        return tiles.mean((1, 2)).astype("float32")
    return embed

def cells(options, infer):
    maybe(options, "create")
    return Cells(options)

def asked(at, value):
    def answer(options):
        maybe(options, at)
        return value
    return answer

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="bad", summary="bad", options=Bad, tile=asked("tile", TileSpec(px=512, mpp=0.5)),
                          dim=asked("dim", 3), models=asked("models", ()), create=made)

@hookimpl
def kras_profilers():
    yield ProfilerPlugin(name="badly", summary="bad", options=Bad, tile=asked("tile", TileSpec(px=512, mpp=0.5)),
                         provides=asked("provides", frozenset()), create=cells)

class Scores:
    def __init__(self, options):
        self.options = options
    def fit(self, train, valid):
        maybe(self.options, "fit")
        self.mean = np.nanmean([s.profile.values for s in train.samples], axis=0)
    def predict(self, samples):
        maybe(self.options, "predict")
        return np.array([np.nansum(s.profile.values - self.mean) for s in samples], "float32")
    def explain(self, sample):
        maybe(self.options, "explain")
        return Explanation(kind="contribution", values=sample.profile.values - self.mean, base=0.0,
                           names=sample.profile.names)
    def save(self, folder):
        maybe(self.options, "save")
        np.save(folder / "mean.npy", self.mean)
        (folder / "options.json").write_text(self.options.model_dump_json())

def begin(options, seed):
    maybe(options, "create")
    return Scores(options)

def load(folder):
    scores = Scores(Bad.model_validate_json((folder / "options.json").read_text()))
    maybe(scores.options, "load")
    scores.mean = np.load(folder / "mean.npy")
    return scores

@hookimpl
def kras_classifiers():
    yield ClassifierPlugin(name="worst", summary="bad", options=Bad, consumes=SemanticProfile, create=begin, load=load)
"""
)

READER = (
    TROUBLE
    + """
import numpy as np
from pydantic import Field
from kras_plugins import Level, ReaderOptions, ReaderPlugin, hookimpl

class Bad(ReaderOptions):
    how: str = Field("", description="what it does")
    at: str = Field("", description="in which call")

class Source:
    mpp, objective_power, quickhash, properties = (0.5, 0.5), None, None, {}
    levels = (Level(width=512, height=512),)
    def __init__(self, path, options):
        self.options = options if "bad" in path.name else Bad()
        seed = int("".join(c for c in path.stem if c.isdigit()) or 0)
        self.pixels = np.random.default_rng(seed).integers(90, 170, (512, 512, 3)).astype("uint8")
        self.pixels[..., 1] //= 2
        self.reads = 0
        self.maybe("open")
    def maybe(self, at):
        if self.options.at == at:
            trouble(self.options.how)
    def read_level(self, level, xy, size):
        self.reads += 1
        self.maybe("read" if self.reads > 1 else "first")
        x, y = xy
        return self.pixels[y:y + size[1], x:x + size[0]].copy()
    def close(self):
        self.maybe("close")

@hookimpl
def kras_readers():
    yield ReaderPlugin(name="worse", summary="bad", suffixes=(".noise",), options=Bad, open=Source)
"""
)


def loose(folder: Path, name: str, code: str) -> Path:
    """A plug-in that is one file."""
    file = folder / f"{name}.py"
    file.write_text(code, encoding="utf-8")
    return file


def installed(site: Path, name: str, code: str, *requires: str, version: str = "1.2") -> None:
    """A distribution with one module and its entry point, as pip leaves it in the folder `site`."""
    module = name.replace("-", "_")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    (info / "entry_points.txt").write_text(f"[kras]\n{module} = {module}\n")
