"""What a plug-in states about itself: where it comes from and which options it takes, as JSON values."""

from __future__ import annotations

from typing import Any

from kras_plugins.contracts.base import is_tuning
from kras_plugins.errors import ConfigError
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.isolation import ask
from kras_plugins.host.manager import Provided, Registry


def described(registry: Registry, name: str) -> list[dict[str, Any]]:
    """The plug-ins with a name, of one kind only if it is `kind:name`; ConfigError if there are none."""
    kind, _, short = name.rpartition(":")
    if kind and kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", f"kinds: {', '.join(KINDS)}")
    kinds = [kind] if kind else [k for k in KINDS if short in registry.names(k)]
    if not kinds:
        known = ", ".join(f"{p.kind}:{p.record.name}" for p in registry.provided)
        raise ConfigError(f"there is no plug-in {short!r}", f"installed: {known}")
    found = [registry.find(k, short) for k in kinds]
    return [ask(p.id, _facts, p) for p in found]


def _facts(p: Provided) -> dict[str, Any]:
    return {
        "id": p.id,
        "summary": p.record.summary,
        "plugin": p.plugin,
        "distribution": p.distribution,
        "version": p.version,
        "options": {
            key: {
                "type": str(field.annotation).replace("typing.", ""),
                "default": field.get_default(call_default_factory=True),
                "description": field.description,
                "changes_results": not is_tuning(field.json_schema_extra),
            }
            for key, field in p.record.options.model_fields.items()
        },
    }
