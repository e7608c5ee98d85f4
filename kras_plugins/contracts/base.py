"""What every plug-in record has in common: a name, a summary and a model of its options.

A plug-in's module states the API it was written for in one line, `KRAS_API = 1`; without it, 1 is taken. It is read as
text before the module is imported, so that a plug-in for a newer kras is distinguished from a broken one. The rules for
API changes are in docs/how-to/plugin-api.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kras_plugins.errors import PluginError

API_VERSION = 1
"""Version of the plug-in contract; it is raised when a plug-in written for the old one would break."""

OLDEST_API = 1
"""The oldest version whose plug-ins still work."""

API_NAME = "KRAS_API"
"""The name under which a plug-in's module states its version."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class Options(BaseModel):
    """Base of every plug-in's options: frozen, unknown keys refused, each field described; numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    def result_affecting(self) -> dict[str, Any]:
        """The options that change results, as JSON values: all but the `tuning()` fields. They enter the store key."""
        speed_only = {name for name, f in type(self).model_fields.items() if is_tuning(f.json_schema_extra)}
        return self.model_dump(mode="json", exclude=speed_only)


def tuning(default: Any, *, description: str, **constraints: Any) -> Any:
    """A field that changes speed or memory but never a result; it stays out of the store key."""
    return Field(default, description=description, json_schema_extra={"tuning": True}, **constraints)


def location(default: Any, *, description: str, changes_results: bool = False, **constraints: Any) -> Any:
    """A field that names what runs, where things are stored or what is contacted: a model file, a store, a server.

    A settings file that is merely found in the current folder cannot set it (`kras trust`). A location is not a fact of
    a result, so it stays out of the store key, unless it `changes_results`.
    """
    marks: dict[str, Any] = {"location": True, "tuning": not changes_results}
    return Field(default, description=description, json_schema_extra=marks, **constraints)


def is_location(extra: object) -> bool:
    """Whether a field's `json_schema_extra` marks it as a location."""
    return isinstance(extra, dict) and bool(extra.get("location"))


def is_tuning(extra: object) -> bool:
    """Whether a field's `json_schema_extra` marks it as speed-only."""
    return isinstance(extra, dict) and bool(extra.get("tuning"))


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """What a hook yields: cheap to make; the work behind `create` or `open` is imported when it is called.

    `name` is how users ask for it (`vit`), unique within its kind; `options` the model of its options; `result_version`
    is raised whenever the same options give other results, so that stored ones are not reused. `origin`, the
    distribution and its version or the file, is deprecated and will be removed with API 2; until then the host fills it
    in, in its own copy. Raises PluginError on a malformed name, summary or options model.
    """

    name: str
    summary: str
    options: type[Options] = Options
    result_version: int = 1
    origin: str = ""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise PluginError(
                f"plug-in name {self.name!r} is not usable", "use lower-case letters, digits and underscores"
            )
        if not self.summary.strip():
            raise PluginError(f"plug-in {self.name!r} has no summary", "say in one line what it is for")
        if not (isinstance(self.options, type) and issubclass(self.options, Options)):
            raise PluginError(
                f"plug-in {self.name!r}: options is not a subclass of kras_plugins.Options",
                "derive the options model from kras_plugins.Options",
            )
        for field_name, field in self.options.model_fields.items():
            if not field.description:
                raise PluginError(
                    f"plug-in {self.name!r}: option {field_name!r} has no description",
                    "give it Field(..., description=...)",
                )
