"""Apply a locked bundle to new slides, after checking parts and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.contracts.backend import BackendPlugin
from kras_plugins.contracts.classifier import Classifier, ClassifierPlugin
from kras_plugins.data import of_extractor, split_extractor
from kras_plugins.errors import ConfigError, StoreError, UsageError
from kras_plugins.evaluation.shift import identity_rows, shift_rows
from kras_plugins.host.config import Config
from kras_plugins.host.parts import Parts, open_parts
from kras_plugins.learning.bundle import Bundle, load_bundle
from kras_plugins.learning.content import CONTENT, read_content
from kras_plugins.learning.seal import sealed
from kras_plugins.learning.signature import read_signature, require_trusted
from kras_plugins.manifest import stated_parts
from kras_plugins.study.audit import cohort_summary
from kras_plugins.study.bundle_facts import check_facts
from kras_plugins.study.outputs import slide_facts
from kras_plugins.study.prepare import made_elsewhere
from kras_plugins.study.vetting import vet

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.session import Processed, Session


def open_bundle(session: Session, folder: Path) -> Bundle:
    """Load a bundle after checking every byte against its seal and trying its models in a separate process.

    Raises UsageError if the folder is not a bundle; StoreError for one that is not whole, that cannot be used, or that
    no trusted key signed although the settings require it.
    """
    if not (folder / CONTENT).is_file():
        raise UsageError(f"{folder}: not a bundle", "give the `bundle` folder that `kras run` wrote")
    whole = sealed(folder)
    signature = read_signature(folder, whole.digest)
    if session.settings.require_signature:
        require_trusted(folder, signature)
    content = read_content(folder, whole.files)
    check_facts(folder, content)
    plugins = [m.plugin for m in content.members]
    for name in plugins:
        session.registry.record("classifier", name, ClassifierPlugin)
    vet(session, folder, whole.digest, plugins)

    def load(name: str, models: Path) -> Classifier:
        return session.registry.record("classifier", name, ClassifierPlugin).load(models)

    bundle = load_bundle(folder, load, lambda name: session.registry.find("classifier", name).origin)
    if bundle.digest != whole.digest:
        raise StoreError(f"bundle refused: {folder} was changed while it was read", "copy it to a folder of your own")
    return bundle


def loads_results(session: Session, bundle: Bundle) -> bool:
    """Whether all inputs of a bundle were made elsewhere, so that no slide is opened."""
    return made_elsewhere(session.registry, parts_of(session, bundle))


def parts_of(session: Session, bundle: Bundle) -> list[tuple[str, str]]:
    """Kind and name of the parts that make a bundle's inputs. Raises ConfigError that names what is not installed.

    Extractors are in the order of training, which is that of the members.
    """
    stated = stated_parts(bundle.facts)
    ordered = [of_extractor("extractor", name) for name in dict.fromkeys(m.extractor for m in bundle.members)]
    keys = [key for key in dict.fromkeys([*ordered, *stated]) if key in stated]
    named = [(split_extractor(key)[0], str(stated[key]["name"])) for key in keys]
    lacking = [f"{kind} {name}" for kind, name in named if name not in session.registry.names(kind)]
    if lacking:
        several = ", ".join(f"{kind} {name}" for kind, name in named)
        raise ConfigError(
            f"the bundle was made with {several}; not installed here: {', '.join(lacking)}",
            "install the plug-in, or name its file with --plugin: all are needed",
        )
    return named


@contextmanager
def open_bundle_parts(session: Session, bundle: Bundle) -> Iterator[Parts]:
    """The parts that made the bundle's inputs, with its options; only the location of weights may be set again.

    Warns if the arithmetic differs from that of the bundle. Raises ConfigError for finished features if the bundle
    makes them from slides.
    """
    facts, backend, named = bundle.facts, session.settings.backend, parts_of(session, bundle)
    _refuse_other_features(session, facts)
    config = _frozen_options(session, facts)
    record = session.registry.record("backend", backend, BackendPlugin)
    chosen = config.options.get("backend", {}).get(backend, {})
    if facts.get("precision") and "precision" in record.options.model_fields and "precision" not in chosen:
        config = config.having("backend", backend, {"precision": facts["precision"]})
    with open_parts(
        session.registry,
        config,
        extractors=[name for kind, name in named if kind == "extractor"],
        profiler=facts["profiler"]["name"] if "profiler" in facts else None,
        backend=backend,
        reader=session.settings.reader,
    ) as parts:
        if parts.precision != facts.get("precision"):
            session.notify.warn(
                f"the bundle was made in {facts.get('precision')}, this backend computes in {parts.precision}: "
                "scores near a threshold may differ"
            )
        for key, part in parts.named().items():
            if part.facts["models"] != facts[key]["models"]:
                raise ConfigError(
                    f"{part.provided.kind} {part.provided.record.name}: its models are "
                    f"{_digests(part.facts['models'])}, the bundle was made with {_digests(facts[key]['models'])}",
                    "use the weights and the version of the plug-in that made the bundle",
                )
        yield parts


def cautions_of(bundle: Bundle) -> list[str]:
    """Why the numbers of a bundle say nothing about patients: the cautions of its training."""
    return list(bundle.provenance.get("demonstration", ()))


def stated(processed: Processed, bundle: Bundle, own: Sequence[str] = ()) -> dict[str, Any]:
    """What a manifest states about slides that a bundle was applied to, as JSON values.

    `own`: cautions about this cohort, in addition to those of the training.
    """
    return {
        **processed.facts,
        "measured": processed.measured,
        "bundle_digest": bundle.digest,
        "trained_on": {k: v for k, v in bundle.provenance.items() if k != "demonstration"},
        "demonstration": list(dict.fromkeys([*cautions_of(bundle), *own])),
        "slides": slide_facts(processed.results),
    }


def compared_with_training(bundle: Bundle, facts: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """How good the bundle's models were in training, and how this cohort and its parts differ from those of training.

    `facts`: those of the parts used here. Bundles made before training was summarized have neither.
    """

    internal, trained = bundle.facts.get("internal", {}), bundle.facts.get("training")
    return {
        "internal": internal.get("models", {}),
        "internal_luad_only": internal.get("luad_only", {}),
        "shift": [
            *identity_rows(bundle.facts, facts),
            *([] if trained is None else shift_rows(trained, cohort_summary(cases))),
        ],
    }


def _frozen_options(session: Session, facts: Mapping[str, Any]) -> Config:
    """The bundle's options over the user's. Raises ConfigError if they differ, except in where weights lie."""
    config = session.config
    frozen = [(split_extractor(key)[0], part["name"], part["options"]) for key, part in stated_parts(facts).items()]
    here = session.registry.names("reader")
    frozen += [("reader", name, options) for name, options in facts["readers"].items() if name in here]
    for kind, name, options in frozen:
        _refuse_more_than_results(session, kind, name, options)
        own = config.options.get(kind, {}).get(name, {})
        # As the plug-in understands it: a list may be given as comma-separated text.
        told = config.options_for(kind, session.registry.find(kind, name).record).model_dump(mode="json")
        for key, value in own.items():
            if key != "weights" and key in options and told.get(key) != options[key]:
                raise ConfigError(
                    f"-o {kind}.{name}.{key}={value}: the bundle was made with {options[key]}",
                    "leave the option out; a bundle fixes it",
                )
        config = config.having(kind, name, {**options, **own})
    return config


def _refuse_other_features(session: Session, facts: Mapping[str, Any]) -> None:
    """Refuse a table of finished features for a bundle whose profiler works on slides, or that has no profiler."""
    made_by = facts["profiler"]["name"] if "profiler" in facts else "none"
    given = session.config.options.get("profiler", {}).get("import", {}).get("table")
    if session.settings.profiler == "import" and given and made_by != "import":
        raise ConfigError(
            f"--profile-table {given}: the bundle was not made with finished features, its profiler is {made_by}",
            "leave out the table and name the slides",
        )


def _refuse_more_than_results(session: Session, kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse a bundle that sets more than what changes results: it must not decide how this machine works."""
    record = session.registry.find(kind, name).record
    surplus = sorted(set(options) - set(session.config.options_for(kind, record).result_affecting()))
    if surplus:
        raise StoreError(
            f"bundle refused: it sets {kind}.{name}.{surplus[0]}, which changes no result of this version",
            "use the version of kras and of the plug-in that wrote it",
        )


def _digests(models: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:12]}" for name, digest in models.items())
