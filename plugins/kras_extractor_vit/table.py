"""The table of docs/models/encoders.md, made from the presets: `python -m kras_extractor_vit.table > FILE`."""

from __future__ import annotations

from kras_extractor_vit.presets import PRESETS, Preset

_INTRO = """\
# Published encoders

Made from `plugins/kras_extractor_vit/presets.py` by `python -m kras_extractor_vit.table`; a test keeps it up to date.
How to get and use them: [how-to/encoders.md](../how-to/encoders.md). We cannot ship any of them: you download them, and
their licenses bind you. All take tiles of 224 px.

TCGA: whether its slides were, without labels, in the pre-training. If they were, results on TCGA are not on unseen
slides, and a run on a cohort that looks like TCGA says so.

| preset | feature | µm/px | mean / std | license | gated | TCGA | size | on the hub | paper |
|---|---|---|---|---|---|---|---|---|---|
"""


def markdown() -> str:
    """The whole file: every preset whose weights are on the hub."""
    rows = [_row(p) for p in PRESETS.values() if p.source.startswith("hf:")]
    return _INTRO + "\n".join(rows) + "\n"


def _row(p: Preset) -> str:
    pooling = {"cls": "class token", "mean": "mean of patches", "cls+mean": "class token, mean of patches"}[p.pooling]
    owner, name, file = p.source.removeprefix("hf:").split("/", 2)
    size = 4e6 * (p.parameters or 0)
    cells = (
        f"`{p.name}`",
        f"{p.dim}: {pooling}",
        ", ".join(f"{mpp:g}" for mpp in (p.mpp, *p.mpps)),
        f"{_numbers(p.mean)} / {_numbers(p.std)}",
        p.licence,
        "yes" if p.gated else "no",
        {True: "yes", False: "no", None: "not stated"}[p.tcga],
        f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB",
        f"[{owner}/{name}](https://huggingface.co/{owner}/{name}) `{file}`",
        p.citation,
    )
    return f"| {' | '.join(cells)} |"


def _numbers(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{v:.9g}" for v in values)


if __name__ == "__main__":
    print(markdown(), end="")
