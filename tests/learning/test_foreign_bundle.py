"""A bundle from somebody else, sealed again: it is loaded from its own files alone, or refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kras_plugins import KrasError, StoreError
from kras_plugins.learning.bundle import Bundle, load_bundle, write_bundle
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.seal import SEAL, seal
from kras_plugins.store import Store


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, make_people: Any, both: Any
) -> tuple[Path, Callable[[Path], Bundle]]:
    folder, some = tmp_path_factory.mktemp("original"), make_people()
    experiment = cross_validate(*some.arguments, both, store=Store(folder / "store"), sample_keys=some.keys)
    write_bundle(folder / "bundle", experiment, facts={}, thresholds={}, provenance={})
    plugins = {m.plugin.name: m.plugin for m in both}
    return folder / "bundle", lambda bundle: load_bundle(bundle, lambda name, models: plugins[name].load(models))


@pytest.fixture
def bundle(original: tuple[Path, Any], tmp_path: Path) -> Path:
    shutil.copytree(original[0], tmp_path / "outer" / "bundle")
    return tmp_path / "outer" / "bundle"


@pytest.fixture
def load(original: tuple[Path, Callable[[Path], Bundle]]) -> Callable[[Path], Bundle]:
    return original[1]


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The bundle with another bundle.json, sealed again."""
    file = bundle / "bundle.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    seal(bundle)
    return bundle


def of_ridge(model: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["members"][0]["folds"][1].update(model=model)


@pytest.mark.parametrize(
    "place",
    ["../elsewhere", "models/fold-1/../../../elsewhere", "{outer}/elsewhere", "models/fold-0/ridge", "", ".", "models"],
)
def test_a_model_lies_where_its_fold_and_member_say_and_nowhere_else(bundle: Path, load: Any, place: str) -> None:
    shutil.copytree(bundle / "models/fold-1/ridge", bundle.parent / "elsewhere")
    with pytest.raises(StoreError, match="is not where the fold-1 model of a member lies"):
        load(rewritten(bundle, of_ridge(place.format(outer=bundle.parent))))


def test_a_link_is_refused_wherever_it_points_and_before_it_is_opened(bundle: Path, load: Any) -> None:
    weights = bundle / "models/fold-1/ridge/weights.json"
    kept = bundle.parent / "weights.json"
    shutil.move(weights, kept)
    for target in (kept, Path("/dev/zero"), Path("../../fold-0/ridge/weights.json"), Path("nowhere")):
        weights.symlink_to(target)
        with pytest.raises(StoreError, match=r"weights\.json is a link"):
            load(bundle)
        weights.unlink()
    shutil.move(kept, weights)
    shutil.move(bundle / "models", bundle.parent / "models")
    (bundle / "models").symlink_to(bundle.parent / "models")
    with pytest.raises(StoreError, match="models is a link"):
        load(bundle)


def test_a_pipe_a_socket_and_an_empty_folder_are_refused(bundle: Path, load: Any) -> None:
    import socket

    os.mkfifo(bundle / "models" / "pipe")
    with pytest.raises(StoreError, match="pipe is not a regular file"):
        load(bundle)
    (bundle / "models" / "pipe").unlink()
    here = os.getcwd()
    os.chdir(bundle)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("ear")
    finally:
        os.chdir(here)
    with pytest.raises(StoreError, match="ear is not a regular file"):
        load(bundle)
    (bundle / "ear").unlink()
    (bundle / "models" / "fold-1" / "more").mkdir()
    with pytest.raises(StoreError, match="more is an empty folder"):
        load(bundle)


@pytest.mark.parametrize("name", ["notes.txt", "models/fold-9/ridge/weights.json", "models/fold-0/ridges/x"])
def test_a_file_of_no_model_is_refused_although_it_is_sealed(bundle: Path, load: Any, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("{}")
    seal(bundle)
    with pytest.raises(StoreError, match=f"{name} belongs to no model"):
        load(bundle)


def test_a_pickle_is_refused_before_a_plugin_sees_it(bundle: Path, load: Any) -> None:
    (bundle / "models/fold-0/ridge/weights.json").write_bytes(pickle.dumps([1.0]))
    seal(bundle)
    with pytest.raises(KrasError, match="pickle"):
        load(bundle)


TEXTS = {
    "no JSON": "members",
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "nested deeply": "[" * 100_000,
    "nested deeper than needed": '{"facts":' * 40 + "1" + "}" * 40,
    "NaN": '{"schema_version": NaN}',
    "a huge number": '{"schema_version": 1e999}',
    "a huge whole number": '{"schema_version": 1' + "0" * 40 + "}",
    "more digits than Python reads": '{"schema_version": ' + "1" * 5000 + "}",
    "no schema": "{}",
    "another schema": '{"schema_version": 7}',
    "a truth for a schema": '{"schema_version": true}',
    "the schema alone": '{"schema_version": 1}',
    "a key twice": '{"schema_version": 1, "schema_version": 1}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_bundle_json_that_is_none_is_one_error(bundle: Path, load: Any, text: str) -> None:
    (bundle / "bundle.json").write_text(text)
    seal(bundle)
    with pytest.raises(StoreError, match="bundle") as e:
        load(bundle)
    assert "\n" not in e.value.message and len(e.value.message) < 600


def test_a_bundle_json_larger_than_any_is_not_read(bundle: Path, load: Any) -> None:
    with (bundle / "bundle.json").open("r+b") as f:
        f.truncate(40 << 20)
    seal(bundle)
    with pytest.raises(StoreError, match=r"bundle\.json .* at most"):
        load(bundle)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "members": lambda c: c.pop("members"),
    "members.0.folds": lambda c: c["members"][0].update(folds=[]),
    "slope": lambda c: c["members"][0]["folds"][0].update(slope="steep"),
    "slope: ": lambda c: c["members"][0]["folds"][0].update(slope=-1.0),
    "consumes": lambda c: c["members"][0].update(consumes="slides"),
    "name": lambda c: c["members"][0].update(name="../ridge"),
    "same name": lambda c: c["members"].append(c["members"][0]),
    "number of folds": lambda c: c["members"][0]["folds"].pop(),
    "fusion.kind": lambda c: c["fusion"].update(kind="magic"),
    "fusion.folds.0": lambda c: c.update(fusion={"kind": "stacked", "folds": [{}] * len(c["fusion"]["folds"])}),
    "inputs.features": lambda c: c["inputs"].update(features=[1]),
    "feature is duplicated": lambda c: c["inputs"]["features"].append("a"),
    "thresholds": lambda c: c.update(thresholds={"ensemble": {"rule_in": "high"}}),
    "facts": lambda c: c.update(facts=[]),
    "surprise": lambda c: c.update(surprise=1),
}


@pytest.mark.parametrize(("said", "change"), CHANGES.items(), ids=CHANGES)
def test_a_bundle_json_of_another_shape_is_refused_by_the_place(
    bundle: Path, load: Any, said: str, change: Any
) -> None:
    with pytest.raises(StoreError, match=said):
        load(rewritten(bundle, change))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"a": 1}}', '{"files": {"../a": "b"}}', "[" * 100_000])
def test_a_seal_that_is_none_is_one_error(bundle: Path, load: Any, text: str) -> None:
    (bundle / SEAL).write_text(text)
    with pytest.raises(StoreError, match="missing or damaged"):
        load(bundle)


def test_the_digest_of_a_bundle_covers_each_of_its_files(bundle: Path, load: Any) -> None:
    before = {load(bundle).digest}
    for name in ("models/fold-0/ridge/weights.json", "models/fold-2/bag_ridge/weights.json", "bundle.json"):
        (bundle / name).write_text((bundle / name).read_text() + " ")
        seal(bundle)
        before.add(load(bundle).digest)
    assert len(before) == 4
