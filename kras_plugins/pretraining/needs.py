"""What pre-training needs beyond kras itself: the extra `pretrain`."""

from __future__ import annotations

from kras_plugins.errors import ConfigError


def require_lightly() -> None:
    """Raise ConfigError with what to install where lightly is absent or broken."""
    try:
        import lightly.loss
        import lightly.transforms  # noqa: F401 - it has needs of its own
    except ImportError as e:
        raise ConfigError(f"pre-training needs the package lightly: {e}", "pip install 'kras[pretrain]'") from e
