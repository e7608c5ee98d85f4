"""Delivers one message of a service's outbox; called with a database, an address and a secret. Tests kill it."""

from __future__ import annotations

import sys

from kras_plugins.service.database.engine import open_database
from kras_plugins.service.leaving.outbox import Webhook, deliver


def main() -> None:
    database, url, secret = sys.argv[1:]
    deliver(open_database(database), Webhook(url=url, secret=secret.encode(), hosts=frozenset({"127.0.0.1"})))


if __name__ == "__main__":
    main()
