"""What the site makes from the code: option tables, records and the commands, where a page has `<!-- made: … -->`.

`<!-- made: commands -->` is the reference of all commands; `<!-- made: options extractor:vit -->` the table of one
plug-in's options; `<!-- made: plugins extractor -->` the bundled plug-ins of a kind; `<!-- made: settings -->`,
`<!-- made: engine -->` and `<!-- made: recipe -->` what `kras.toml` and a recipe of `kras pretrain` may hold;
`<!-- made: page CHANGELOG.md -->` a page of the repository's root, its links turned to this folder. Nothing is written
to disk: nothing can be out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commands
import options
import settings
from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"<!-- made: (\w+) ?(.*?) -->")
_CLASS = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?:docs/)?([^)]*)\)")


def root_page(name: str) -> str:
    """A page of the repository's root as one of this site: links into `docs/` lose it, others gain `../`."""

    def turned(link: re.Match[str]) -> str:
        inside = link[0].startswith("](docs/")
        return f"]({link[1]})" if inside else f"](../{link[1]})"

    return _LINK.sub(turned, (ROOT / name).read_text(encoding="utf-8"))


MAKERS: dict[str, Callable[..., str]] = {
    "commands": commands.reference,
    "options": options.options,
    "engine": settings.engine,
    "recipe": settings.recipe,
    "settings": settings.run,
    "plugins": options.listed,
    "page": root_page,
}


def fill(text: str) -> str:
    """The Markdown with every mark replaced by what it asks for; KeyError for a mark that nobody makes."""
    return MARK.sub(lambda mark: MAKERS[mark[1]](*mark[2].split()), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Fill each page as it is read; those with a mark are read at every build, as the code may have changed."""

    def on_read(_app: Sphinx, _page: str, content: list[str]) -> None:
        content[0] = fill(content[0])

    def outdated(_app: Sphinx, env: BuildEnvironment, *_: set[str]) -> list[str]:
        return [page for page in env.found_docs if MARK.search(env.doc2path(page).read_text(encoding="utf-8"))]

    def on_signature(*event: Any) -> tuple[str, Any] | None:
        *_, signature, returned = event
        if signature == "(*args, **kwargs)":  # of a protocol, which nobody calls
            return "", returned
        return (_CLASS.sub(r"\1", signature), returned) if signature else None

    app.add_lexer("csv", TextLexer)  # Pygments has none
    app.connect("source-read", on_read)
    app.connect("env-get-outdated", outdated)
    app.connect("autodoc-process-signature", on_signature)
    return {"parallel_read_safe": True}
