"""Addresses of objects and of stores that are not on this disk; their text shows no credentials.

A password before the host and the signature of a signed address (S3, Google, Azure) are credentials of whoever wrote
them: they are sent to that host only, and appear in no message, manifest or log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SCHEMES = ("s3", "gs", "az", "https", "http")
"""What can be read: Amazon S3 and compatible services, Google Cloud Storage, Azure, any web server."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_MANGLED = re.compile(rf"({'|'.join(SCHEMES)}):/[^/]")
_PLAIN = frozenset({"id", "file_id", "uuid", "name", "file", "filename", "path", "version", "versionid", "format"})
"""Parameters whose values identify the object; any other may be a secret."""
_ANY = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?#'\"<>]*@)?(?P<rest>[^\s?'\"<>]*)(?P<query>\?[^\s'\"<>]*)?"
)
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#]*)(=?)([^&;#]*)")


@dataclass(frozen=True)
class Url:
    """An address; `str` shows it without credentials, `text` is the whole."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return without_credentials(self.text)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    @property
    def scheme(self) -> str:
        """One of SCHEMES."""
        return urlsplit(self.text).scheme.lower()

    @property
    def key(self) -> str:
        """The object's name in its bucket or on its host, without a slash before it."""
        path = re.split(r"[?#]", self.text, maxsplit=1)[0] if self.is_web else self.text
        key = path.split("://", 1)[1].partition("/")[2]
        return unquote(key) if self.is_web else key

    @property
    def is_web(self) -> bool:
        """Whether it is on a web server, whose addresses are quoted and may have a query."""
        return self.scheme in ("https", "http")

    @property
    def name(self) -> str:
        """The last part of the key, as a file would be called."""
        return self.key.rstrip("/").rpartition("/")[2]

    def below(self, name: str) -> Url:
        """The address of an object whose key continues this one's."""
        path, mark, query = self.text.partition("?") if self.is_web else (self.text, "", "")
        return Url(f"{path.rstrip('/')}/{name}{mark}{query}")


def place(value: str | Path | Url) -> Path | Url:
    """A path, or a Url if the text is one. ValueError for an address of another kind, or one mangled by a Path."""
    if isinstance(value, Url):
        return value
    if not isinstance(value, str | Path):
        raise ValueError("is neither a folder nor an address")
    text = str(value)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _MANGLED.match(text):
            raise ValueError(f"{text} was an address before it was made a Path; give it as text")
        return Path(text)
    if scheme[1].lower() not in SCHEMES:
        raise ValueError(f"an address of the kind {scheme[1]}:// cannot be read; supported are {', '.join(SCHEMES)}")
    if not urlsplit(text).netloc:
        raise ValueError(f"{text} names no host or bucket")
    return Url(text)


def without_credentials(text: str) -> str:
    """The text with all its addresses shown without the part before an `@` and without secret parameters."""
    return _ANY.sub(lambda m: m["scheme"] + m["rest"] + _shown(m["query"] or ""), text) if "://" in text else text


def redacted_values(value: Any) -> Any:
    """JSON values, at any depth, whose texts show addresses without credentials."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {k: redacted_values(v) for k, v in value.items()}
    return [redacted_values(v) for v in value] if isinstance(value, list | tuple) else value


def _shown(query: str) -> str:
    def shown(m: re.Match[str]) -> str:
        name, equals, value = m.groups()
        if not equals:
            return "***" if name else ""
        return f"{name}={value if name.lower() in _PLAIN else '***'}"

    return _PARAMETER.sub(shown, query)
