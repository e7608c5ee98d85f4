"""The entry point of the `kras` command, outside of `kras_plugins`: so Ctrl-C during that import gives no traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; Ctrl-C while it is still being imported ends it with exit code 130, as it does later."""
    try:
        from kras_plugins.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    run()
