"""Runs a worker of a service until it is asked to stop; called with a file that says which, as `served` wrote it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from kras_plugins.service.bundles import open_bundles
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.service.worker import Worker
from kras_plugins.study import StudySettings


def settings_of(order: Path) -> ServiceSettings:
    """The settings that `written` wrote."""
    told = json.loads(order.read_text())
    paths = {name: tuple(map(Path, told.pop(name))) for name in ("bundles", "silent", "roots")}
    study = StudySettings.model_validate_json(json.dumps(told.pop("study")))
    return ServiceSettings(data=Path(told.pop("data")), study=study, **paths, **told)


def written(settings: ServiceSettings, order: Path) -> Path:
    """Write settings for a worker process."""
    told = {name: getattr(settings, name) for name in ("database", "lease_s", "retries", "pseudonyms")}
    told |= {name: [str(p) for p in getattr(settings, name)] for name in ("bundles", "silent", "roots")}
    told |= {"data": str(settings.data), "study": settings.study.model_dump(mode="json", exclude_unset=True)}
    order.write_text(json.dumps(told))
    return order


def main() -> None:
    settings = settings_of(Path(sys.argv[1]))
    worker = Worker(open_database(settings.database_url), settings, open_bundles(settings))
    signal.signal(signal.SIGTERM, lambda *_: worker.stop(now=True))
    worker.run()


if __name__ == "__main__":
    main()
