"""What a classifier on the semantic profile saves beside its model: options, seed, choice and scale of columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kras_plugins.contracts.base import Options

if TYPE_CHECKING:
    from kras_plugins.learning.tabular import Preprocessor

T = TypeVar("T", bound=Options)

_FILE = "classifier.json"


def write_facts(folder: Path, options: Options, seed: int, preprocessor: Preprocessor) -> None:
    """Write `classifier.json` into the folder."""
    facts = {"options": options.result_affecting(), "seed": seed, "preprocessor": preprocessor.to_dict()}
    (folder / _FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_facts(folder: Path, options: type[T]) -> tuple[T, int, Preprocessor]:
    """(options, seed, preprocessor) that `write_facts` wrote; raises what their checks raise."""
    from kras_plugins.learning.tabular import Preprocessor

    facts = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return (
        options.model_validate(facts["options"]),
        facts["seed"],
        Preprocessor.from_dict(facts["preprocessor"]),
    )
