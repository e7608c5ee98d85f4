"""What `bundle.json` may contain, checked before anything is built from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import BaseModel, ConfigDict, Field

from kras_plugins.data import split_extractor
from kras_plugins.errors import StoreError
from kras_plugins.learning.fusion import Kind, load_fusion
from kras_plugins.learning.strict_json import read_strict_json

SCHEMA_VERSION = 4
ONE_EXTRACTOR = 3
"""The schema of bundles whose members get the bags of one extractor, which earlier versions also read."""
CONTENT = "bundle.json"

MemberName = Annotated[str, Field(max_length=400, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_.-]+)?$")]
Name = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text that is shown to people: no control characters of a terminal."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class FoldContent(_Part):
    """One saved model: its folder, relative to the bundle, and Platt's line."""

    model: str
    slope: float = Field(ge=0)
    intercept: float


class MemberContent(_Part):
    """One member and its model of each outer fold."""

    name: MemberName
    plugin: Name
    identity: Text
    options: dict[str, Any]
    consumes: Literal["bags", "profile"]
    extractor: Literal[""] | Name = ""
    folds: list[FoldContent] = Field(min_length=1, max_length=1000)


class FusionContent(_Part):
    """How members are fused, and what was fitted for the fusion in each fold."""

    kind: Kind
    folds: list[dict[str, Any]]


class EncodedContent(_Part):
    """What made the bags of one of several extractors."""

    encoder: Text
    transform_hash: Text


class InputsContent(_Part):
    """What the models were fitted on; see `inputs.Inputs`."""

    encoder: Text | None
    transform_hash: Text | None
    features: list[Annotated[str, Field(max_length=1000)]] | None = Field(max_length=100_000)
    extractors: dict[Name, EncodedContent] = {}


class BundleContent(_Part):
    """The whole of `bundle.json`. `facts` and `provenance` are checked where they are used."""

    schema_version: int
    facts: dict[str, Any]
    thresholds: dict[str, dict[str, float | None]]
    provenance: dict[str, Any]
    inputs: InputsContent
    fusion: FusionContent
    members: list[MemberContent] = Field(min_length=1, max_length=100)


def schema_of(extractors: Sequence[str]) -> int:
    """The schema of a bundle whose members get the bags of these extractors, "" if there is only one."""
    return SCHEMA_VERSION if any(extractors) else ONE_EXTRACTOR


def read_content(folder: Path, sealed: Collection[str]) -> BundleContent:
    """The content of a bundle whose seal was checked. `sealed`: the names of all its files.

    Each model must be at its place in a bundle, `models/fold-K/MEMBER`, with all of its files under the seal; a sealed
    file that belongs to no model is refused. Raises StoreError naming what is wrong.
    """
    path = folder / CONTENT
    value = read_strict_json(path)
    found = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(found, int) and found not in (ONE_EXTRACTOR, SCHEMA_VERSION):
        older = "an older kras wrote it: run the study again"
        raise StoreError(
            f"{folder} has bundle schema {found}, this version reads {SCHEMA_VERSION}",
            older if found < ONE_EXTRACTOR else "use the version of kras that wrote it",
        )
    try:
        content = BundleContent.model_validate(value)
    except pydantic.ValidationError as e:
        raise refused(path, told(e)) from e
    _check_agreement(path, content)
    _check_places(folder, content, sealed)
    return content


def refused(path: Path, why: str) -> StoreError:
    """The error for a bundle whose content kras would not have written."""
    why = why if why.isprintable() else ascii(why)
    return StoreError(f"bundle refused: {path}: {why}", "name the folder of a bundle that `kras run` wrote")


def told(error: pydantic.ValidationError) -> str:
    """The first problem, and where it is, on one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step)[:60] for step in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _check_agreement(path: Path, content: BundleContent) -> None:
    """Check that every member has every fold and an extractor, and that the fusion fits these members."""
    names = [m.name for m in content.members]
    if len(set(names)) != len(names):
        raise refused(path, "two members have the same name")
    if content.schema_version != schema_of([m.extractor for m in content.members]):
        raise refused(path, f"schema_version {content.schema_version} is not that of its members")
    for member in content.members:
        if split_extractor(member.name)[1] != member.extractor:
            raise refused(path, f"member {member.name} is not named after its extractor {member.extractor!r}")
    if {m.extractor for m in content.members} - {""} != set(content.inputs.extractors):
        raise refused(path, "inputs.extractors are not those of the members")
    if len({len(m.folds) for m in content.members} | {len(content.fusion.folds)}) != 1:
        raise refused(path, "members and fusion differ in their number of folds")
    features = content.inputs.features or []
    if len(set(features)) != len(features):
        raise refused(path, "a feature is duplicated in inputs.features")
    for k, values in enumerate(content.fusion.folds):
        try:
            fused = load_fusion(content.fusion.kind, values).fuse({name: np.zeros(1) for name in names})
            if fused.strict.shape != (1,) or not np.isfinite(fused.strict).all():
                raise ValueError("no finite score")
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as e:
            raise refused(path, f"fusion.folds.{k} does not describe {content.fusion.kind} of its members") from e


def _check_places(folder: Path, content: BundleContent, sealed: Collection[str]) -> None:
    left = {*sealed} - {CONTENT}
    for member in content.members:
        for k, fold in enumerate(member.folds):
            if fold.model != f"models/fold-{k}/{member.name}" or re.search(r"(^|/)\.\.?(/|$)", fold.model):
                raise refused(folder / CONTENT, f"{fold.model!r} is not where the fold-{k} model of a member lies")
            own = {name for name in left if name.startswith(f"{fold.model}/")}
            if not own:
                raise refused(folder / CONTENT, f"{fold.model} contains no file")
            left -= own
    if left:
        raise refused(folder, f"{min(left)} belongs to no model")
