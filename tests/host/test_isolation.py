"""A bad plug-in is reported with its cause; it affects neither the host nor another plug-in nor another slide."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from bad_plugin import PLUGIN, READER, TROUBLE, installed, loose

from kras_plugins.data import SlideRef
from kras_plugins.errors import (
    BackendError,
    ConfigError,
    KrasError,
    PluginError,
    as_kras_error,
    described,
    plugin_boundary,
)
from kras_plugins.host import isolation
from kras_plugins.host.config import load_config
from kras_plugins.host.isolation import ask, deadline
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.parts import open_parts
from kras_plugins.processing.execution import Failure, process_slides, workers
from kras_plugins.processing.pipeline import SlideResult
from kras_plugins.processing.workers import Workers
from kras_plugins.store import Store

GOOD = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="mine", summary="mean color", tile=lambda o: TileSpec(px=32, mpp=1.0), dim=lambda o: 3,
                          create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"))
"""
CAUSES = {
    "error": "ValueError: no luck",
    "exit": "SystemExit: 3",
    "odd": "Odd: odd thing",
    "interrupt": "KeyboardInterrupt: of its own",
    "missing": "ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
    "unshowable": "Unshowable: (it cannot be shown)",
    "unsendable": "Unsendable: 1 and 2",
    "stop": "StopIteration: enough",
    "hang": "no answer for",
    "die": "ended its worker process (exit code 7)",
    "crash": "ended its worker process (SIGSEGV)",
}


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calls that hang are abandoned after a second, and end with the test."""
    monkeypatch.delenv("KRAS_TEST_LET_GO", raising=False)
    monkeypatch.setattr(isolation, "_LEAVE_SECONDS", 0.2)
    with deadline(1):
        yield
    os.environ["KRAS_TEST_LET_GO"] = "now"
    isolation._given_up = False


@pytest.mark.parametrize("how", [how for how in CAUSES if how not in {"die", "crash"}])
def test_an_import_that_fails_in_any_way_is_listed_with_its_distribution(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, f"kras-{how}", f"{TROUBLE}\ntrouble({how!r})")
    installed(tmp_path, "kras-well", GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = discover(seconds=1)
    (broken,) = registry.broken
    assert (broken.plugin, broken.distribution, broken.version) == (f"kras_{how}", f"kras-{how}", "1.2")
    assert CAUSES[how] in broken.cause
    assert {"mine", "vit"} <= set(registry.names("extractor"))


@pytest.mark.parametrize("how", ["error", "exit", "odd", "hang"])
def test_a_hook_that_fails_midway_is_listed_and_gives_nothing(how: str, tmp_path: Path) -> None:
    code = f"{TROUBLE}\n{GOOD}\n    trouble({how!r})\n"
    registry = discover(files=[loose(tmp_path, "half", code)], seconds=1)
    assert CAUSES[how] in registry.broken[0].cause
    assert "mine" not in registry.names("extractor")


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path) -> None:
    (broken,) = discover(files=[loose(tmp_path, "typo", "x = 1\ndef kras_extractors(:\n")]).broken
    assert "SyntaxError" in broken.cause
    assert "line 2" in broken.cause


def test_the_traceback_of_a_failed_import_is_kept(tmp_path: Path) -> None:
    (broken,) = discover(files=[loose(tmp_path, "bad", f"{TROUBLE}\ntrouble('error')")]).broken
    assert 'bad.py", line' in broken.trace
    assert "trace" not in broken.facts()


def test_what_an_import_changes_for_others_is_put_back(tmp_path: Path) -> None:
    folder, out, err, filters = os.getcwd(), sys.stdout, sys.stderr, list(warnings.filters)
    code = "import logging, os, sys, warnings\nos.chdir('/')\nwarnings.simplefilter('ignore')\n"
    code += "logging.disable(logging.CRITICAL)\nsys.stderr = sys.stdout = open(os.devnull, 'w')\n"
    registry = discover(files=[loose(tmp_path, "rude", code + GOOD)])
    assert "mine" in registry.names("extractor")
    assert (os.getcwd(), sys.stdout, sys.stderr, warnings.filters) == (folder, out, err, filters)
    assert logging.getLogger("kras").isEnabledFor(logging.WARNING)


def test_a_plugin_cannot_take_signals_away(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{GOOD}"
    (broken,) = discover(files=[loose(tmp_path, "deaf", code)]).broken
    assert "signal only works in main thread" in broken.cause
    assert signal.getsignal(signal.SIGINT) == before


def test_only_ctrl_c_passes_a_boundary() -> None:
    with pytest.raises(KeyboardInterrupt), plugin_boundary("x"):
        raise KeyboardInterrupt
    with pytest.raises(PluginError, match="x failed in fit: SystemExit: 4") as caught, plugin_boundary("x", "in fit"):
        raise SystemExit(4)
    assert isinstance(caught.value.__cause__, SystemExit)


def test_an_error_of_a_kind_of_its_own_is_a_fault_of_the_plugin() -> None:
    class Own(KrasError):
        pass

    assert type(as_kras_error("x", Own("no"))) is PluginError
    kept = BackendError("no engine")
    assert as_kras_error("x", kept) is kept


def test_a_long_cause_is_one_short_line() -> None:
    assert described(ValueError("a\n  b")) == "ValueError: a b"
    assert len(described(ValueError("x" * 10_000))) < 600


def test_a_timeout_of_the_plugins_own_is_no_hang() -> None:
    def times_out() -> None:
        raise TimeoutError("server away")

    with pytest.raises(PluginError, match="TimeoutError: server away"):
        ask("x", times_out)
    assert not isolation.given_up()


def test_a_call_that_hangs_is_given_up_and_named() -> None:
    with deadline(0.1), pytest.raises(PluginError, match="extractor:x@d/1 gave no answer for 0.1 s") as caught:
        ask("extractor:x@d/1", time.sleep, 3)
    assert "`deadline`" in caught.value.hint
    assert isolation.given_up()


def test_a_worker_has_the_time_of_each_item_that_it_is_given() -> None:
    with Workers(1) as pool:
        with deadline(0):
            pool.run("x", time.sleep, 0)  # it starts
        with deadline(0.3):
            pool.run("x", time.sleep, 0.6, items=4)
            with pytest.raises(PluginError, match=r"x gave no answer for 0\.6 s in a worker process"):
                pool.run("x", time.sleep, 30, items=2)


def test_a_process_that_was_stopped_for_a_while_loses_no_time(tmp_path: Path) -> None:
    code = (
        "import time\nfrom kras_plugins.host.isolation import ask, deadline\n"
        "def slow():\n    print('begun', flush=True)\n"
        "    for _ in range(15):\n        time.sleep(0.1)\n    return 'done'\n"
        "with deadline(3):\n    print(ask('x', slow))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "done\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The bundled plug-ins and the bad ones, as installed distributions."""
    site = tmp_path_factory.mktemp("site")
    installed(site, "kras-bad", PLUGIN)
    installed(site, "kras-noise", READER, version="0.3")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", str(site))  # for worker processes
        yield discover()


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideRef]:
    """Four slides of noise, a tile each; the reader is bad on one."""
    return noise(tmp_path, ("s1", "s2-bad", "s3", "s4"))


def noise(folder: Path, names: Sequence[str]) -> list[SlideRef]:
    for name in names:
        (folder / f"{name}.noise").write_text(name)
    return [SlideRef(patient_id=n, slide_id=n, path=folder / f"{n}.noise") for n in names]


def processed(
    registry: Registry, slides: Sequence[SlideRef], store: Path, part: str, **options: str
) -> tuple[list[SlideResult], list[Failure]]:
    kind, name = part.split(".")
    config = load_config(None, [f"{part}.{key}={value}" for key, value in options.items()])
    with ExitStack() as stack:
        opened = open_parts(
            registry,
            config,
            extractors=[] if kind == "profiler" else ["bad"],
            profiler=name if kind == "profiler" else None,
            backend="local",
        )
        parts, work = stack.enter_context(opened), stack.enter_context(workers(Store(store), 1))
        return process_slides(slides, parts, work)


@pytest.mark.parametrize(("part", "at"), [("extractor.bad", "embed"), ("profiler.badly", "decode")])
def test_what_fails_on_a_tile_in_any_way_costs_that_slide_only(
    part: str, at: str, registry: Registry, tmp_path: Path
) -> None:
    hows = ["error", "exit", "odd", "interrupt", "missing", "unshowable", "unsendable", "stop", "hang"]
    if at == "decode":
        hows += ["die", "crash"]
    slides = noise(tmp_path, [f"s{i}" for i in range(len(hows) + 3)])
    (tmp_path / "turns").mkdir()
    turns = {"how": ",".join(["well", *hows, "fine"]), "turns": str(tmp_path / "turns")}
    with deadline(20 if at == "decode" else 1):  # a worker imports the host meanwhile, on a machine that may be busy
        results, failures = processed(registry, slides, tmp_path / "store", part, at=at, **turns)
    assert len(results) == 3
    told = [f.error.message for f in failures]
    assert len(told) == len(hows)
    assert all(text.startswith(f"{part.replace('.', ':')}@kras-bad/1 ") for text in told)
    assert [how for how in hows if not any(CAUSES[how] in text for text in told)] == []
    traces = "".join(
        traceback.format_exception(next(f.error for f in failures if CAUSES["unsendable"] in str(f.error)))
    )
    assert "kras_bad.py" in traces  # where it was, also in a worker process


@pytest.mark.parametrize(
    ("at", "how"),
    [("open", "error"), ("open", "exit"), ("open", "hang"), ("first", "odd"), ("first", "hang"), ("read", "missing"),
     ("read", "hang")],
)  # fmt: skip
def test_a_reader_that_fails_on_one_slide_costs_that_slide_only(
    at: str, how: str, registry: Registry, slides: list[SlideRef], tmp_path: Path
) -> None:
    results, failures = processed(registry, slides, tmp_path / "store", "reader.worse", how=how, at=at)
    assert [f.ref.slide_id for f in failures] == ["s2-bad"]
    assert "reader 'worse' of kras-noise 0.3 " in failures[0].error.message
    assert CAUSES[how] in failures[0].error.message
    assert len(results) == 3


@pytest.mark.parametrize("how", ["error", "exit", "hang"])
def test_a_reader_that_fails_to_close_is_told_and_costs_nothing(
    how: str, registry: Registry, slides: list[SlideRef], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results, failures = processed(registry, slides, tmp_path / "store", "reader.worse", how=how, at="close")
    assert (len(results), failures) == (4, [])
    assert "a slide was not closed: reader 'worse' of kras-noise 0.3" in caplog.text


@pytest.mark.parametrize(
    ("part", "at"),
    [("extractor.bad", "models"), ("extractor.bad", "tile"), ("extractor.bad", "dim"), ("extractor.bad", "create"),
     ("profiler.badly", "tile"), ("profiler.badly", "provides"), ("profiler.badly", "create")],
)  # fmt: skip
def test_what_fails_before_any_tile_is_an_error_that_names_the_plugin(
    part: str, at: str, registry: Registry, slides: list[SlideRef], tmp_path: Path
) -> None:
    kind, name = part.split(".")
    with pytest.raises(PluginError, match=rf"{kind}:{name}@kras-bad/1 failed: SystemExit: 3"):
        processed(registry, slides, tmp_path / "store", part, how="exit", at=at)


@pytest.mark.parametrize("suffixes", ["'.noise'", "None", "(1,)", "('.noise', '')"])
def test_a_reader_whose_suffixes_would_catch_the_files_of_others_is_broken(suffixes: str, tmp_path: Path) -> None:
    code = READER.replace('suffixes=(".noise",)', f"suffixes={suffixes}")
    (broken,) = discover(files=[loose(tmp_path, "grabs", code)]).broken
    assert "suffixes" in broken.cause


def test_a_reader_that_refuses_its_own_defaults_is_left_out_of_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = READER.replace('how: str = Field("",', "how: str = Field(")
    registry = discover(["kras-noise"], [loose(tmp_path, "wants", code)])
    config = load_config(None)
    with open_parts(registry, config, extractors=[], profiler=None, backend="local") as parts:
        assert [reader.plugin.name for reader in parts.readers] == ["dicomweb", "openslide", "tiff"]
    assert "reader 'worse' of" in caplog.text
    with (
        pytest.raises(ConfigError, match=r"reader\.worse\.how"),
        open_parts(registry, config, extractors=[], profiler=None, backend="local", reader="worse"),
    ):
        pass
