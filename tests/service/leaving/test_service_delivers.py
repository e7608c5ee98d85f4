"""A whole service posts what it scored."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

from local_http import served
from served import arrive, serving
from service_receiver import SECRET, Got, Receiver

from kras_plugins.service import audit
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.leaving.outbox import SIGNATURE, Webhook, is_signed
from kras_plugins.service.running import Ending, run


def test_a_service_scores_a_slide_posts_the_result_and_ends_when_asked(
    tables: Path, bundle: Path, tmp_path: Path
) -> None:
    settings, got, ending = serving(tmp_path, tables, [bundle]), Got(), Ending()
    slide = arrive(settings.roots[0], 0)

    def begun(arrivals: Arrivals) -> None:
        arrivals.take([str(slide)], "test", patient_id="Zwetschgenbaum")

    with served(Receiver, got=got) as address:
        hook = Webhook(url=f"{address}/x", secret=SECRET, hosts=frozenset({"127.0.0.1"}))
        whole = threading.Thread(
            target=run,
            args=(settings, Reach(port=0), ending),
            kwargs={"workers": 1, "announce": lambda _: None, "begun": begun, "hook": hook},
        )
        whole.start()
        while not got.came.wait(1.0) and whole.is_alive():
            pass
        ending.ask()
        whole.join()
    (body,) = got.bodies
    value = json.loads(body)
    assert value["event"] in ("case.scored", "case.not_assessable")
    assert b"Zwetschgenbaum" not in body and b".svs" not in body
    assert is_signed(SECRET, got.headers[0][SIGNATURE], body, datetime.now(UTC))
    db = open_database(settings.database_url)
    assert [e.action for e in audit.entries(db, value["case"])][-1] == "delivered"
    db.dispose()
