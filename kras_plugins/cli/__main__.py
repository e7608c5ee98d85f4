"""`python -m kras_plugins.cli` is `kras`."""

from kras_plugins.cli.app import main

if __name__ == "__main__":
    main()
