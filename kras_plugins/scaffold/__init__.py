"""A new plug-in as a distribution of its own that installs and passes its tests at once: `kras plugin new`."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kras_plugins.contracts.base import API_VERSION
from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.hookspecs import KINDS

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")


@dataclass(frozen=True)
class _Words:
    """What differs between kinds besides the code: a summary, what the module itself imports, and how it is used."""

    summary: str
    needs: str
    use: str
    check: str = ""


_WORDS = {
    "reader": _Words(
        "whole images that Pillow reads, with a JSON sidecar that states the resolution",
        '"numpy", "pillow"',
        "kras embed image.webp --reader {name} --out bags",
    ),
    "extractor": _Words(
        "pooled features of a small convolutional network",
        '"timm"',
        "kras embed slide.svs --extractor {name} -o extractor.{name}.weights=random:0 --out bags",
        " -o extractor.{name}.weights=random:0",
    ),
    "profiler": _Words(
        "nuclei by their hematoxylin, small round ones as lymphocytes",
        '"numpy", "scikit-image", "torch"',
        "kras profile slide.svs --profiler {name} --out cells",
    ),
    "classifier": _Words(
        "logistic regression on the semantic profile",
        '"numpy", "scikit-learn"',
        "kras run cohort.csv --classifiers {name}",
    ),
    "backend": _Words(
        "networks in this process by ONNX Runtime on the CPU",
        '"onnxruntime"',
        "kras embed slide.svs --backend {name} --out bags",
    ),
}

FILES = {
    "pyproject.toml": "project/pyproject.toml.j2",
    "README.md": "project/README.md.j2",
    ".gitignore": "project/gitignore.j2",
    ".github/workflows/ci.yml": "project/ci.yml.j2",
    "{module}.py": "{kind}/module.py.j2",
    "tests/test_{name}.py": "{kind}/test.py.j2",
}
"""The files that are written, by template."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """The names of one new plug-in, all derived from its kind and the name that the author gave.

    `kind` extractor and the given `my-encoder` make the distribution `kras-extractor-my-encoder`, the module
    `kras_extractor_my_encoder` and `name` my_encoder, which is how users ask for it.
    """

    kind: str
    given: str

    def __post_init__(self) -> None:
        if not _NAME.match(self.given):
            raise ConfigError(
                f"{self.given!r} cannot be the name of a plug-in", "lower-case letters and digits, such as my-encoder"
            )
        if keyword.iskeyword(self.name):
            raise ConfigError(f"{self.given!r} is a Python keyword", f"for example {self.given}-{self.kind}")

    @property
    def name(self) -> str:
        """How users ask for it: `--extractor my_encoder`."""
        return self.given.replace("-", "_")

    @property
    def distribution(self) -> str:
        """What is installed."""
        return f"kras-{self.kind}-{self.given}"

    @property
    def module(self) -> str:
        """What Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def use(self) -> str:
        """A command that uses it once it is installed."""
        return _WORDS[self.kind].use.format(name=self.name)


def named(kind: str, given: str) -> Project:
    """The names for what the author gave, with or without the prefix `kras-KIND-`; ConfigError for invalid names."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", f"kinds: {', '.join(KINDS)}")
    return Project(kind=kind, given=given.replace("_", "-").removeprefix(f"kras-{kind}-"))


def write_project(project: Project, folder: Path) -> list[Path]:
    """Write the distribution into `folder`, which must be new or empty; returns its files.

    Raises ConfigError where something is in the way, StoreError where it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} already exists", "give another --out, or remove it")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StoreError(f"cannot write {folder}: {e.strerror or e}", "choose another --out") from e
    templates = Environment(
        loader=PackageLoader("kras_plugins.scaffold"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    words = _WORDS[project.kind]
    values = {
        "kind": project.kind,
        "name": project.name,
        "distribution": project.distribution,
        "module": project.module,
        "camel": "".join(part.capitalize() for part in project.given.split("-")),
        "api": API_VERSION,
        "kras": metadata.version("kras"),
        "summary": words.summary,
        "needs": words.needs,
        "use": project.use,
        "check_options": words.check.format(name=project.name),
    }
    written = []
    for target, template in FILES.items():
        file = folder / target.format(kind=project.kind, module=project.module, name=project.name)
        text = templates.get_template(template.format(kind=project.kind)).render(values)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        except OSError as e:
            raise StoreError(f"cannot write {file}: {e.strerror or e}", "choose another --out") from e
        written.append(file)
    return written
