"""Tables of plug-ins and of their options, in Markdown, from the records that the plug-ins yield."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from kras_plugins.contracts.base import is_tuning
from kras_plugins.host.manager import discover


def listed(kind: str) -> str:
    """The plug-ins of one kind that come with kras, each with a link to its page."""
    found = [p for p in discover().provided if p.kind == kind and p.distribution == "kras"]
    rows = [f"| [`{p.record.name}`]({kind}-{p.record.name}.md) | {p.record.summary} |" for p in found]
    return "\n".join(["| plug-in | what for |", "|---|---|", *rows])


def options(id: str) -> str:
    """The options of plug-in KIND:NAME: name, type, default and meaning; * marks those that only change speed."""
    kind, name = id.split(":")
    return table(discover().find(kind, name).record.options)


def table(model: type[BaseModel], instead: Mapping[str, tuple[str, str]] | None = None) -> str:
    """The fields of a model, or those that `instead` names, with its words for default and meaning."""
    rows, tuned = [], False
    for key, field in model.model_fields.items():
        if instead and key not in instead:
            continue
        star = r"\*" if is_tuning(field.json_schema_extra) else ""
        tuned |= bool(star)
        default, meaning = instead[key] if instead else (_default(field), field.description or "")
        rows.append(f"| `{key}`{star} | {_type(model, key)} | {default} | {cell(meaning)} |")
    if not rows:
        return "It has no options."
    head = f"| option | type | {'on the command line' if instead else 'default'} | meaning |"
    note = ["", "\\* changes speed or where files lie, never a result."] if tuned else []
    return "\n".join([head, "|---|---|---|---|", *rows, *note])


def _type(model: type[BaseModel], key: str) -> str:
    schema = model.model_json_schema()["properties"][key]
    return " or ".join(_words(schema))


def _words(schema: dict[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [word for part in schema["anyOf"] for word in _words(part) if part.get("type") != "null"]
    if "enum" in schema:
        return [f"`{word}`" for word in schema["enum"]]
    if "const" in schema:
        return [f"`{schema['const']}`"]
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[word]:g}" for word, sign in limits.items() if word in schema]
    names = {"string": "text", "integer": "whole number", "boolean": "yes or no", "array": "list", "object": "table"}
    kind = "file or folder" if schema.get("format") == "path" else names.get(schema["type"], schema["type"])
    return [" ".join([kind, *([", ".join(bounds)] if bounds else [])])]


def _default(field: Any) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return "–"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return f"`{cell(str(value).lower() if isinstance(value, bool) else str(value))}`"


def cell(text: str) -> str:
    """Text as a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
