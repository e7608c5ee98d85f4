"""The outer models that a cross-validation kept, loaded again to explain patients they never saw."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kras_plugins.learning.guard import Called, call
from kras_plugins.learning.inputs import handed

if TYPE_CHECKING:
    from kras_plugins.contracts.classifier import Classifier
    from kras_plugins.data import Explanation, Sample
    from kras_plugins.learning.experiment import Experiment
    from kras_plugins.learning.fits import Member


def outer_model(experiment: Experiment, member: Member, fold: int) -> tuple[Called, Classifier]:
    """The first repeat's model of a member for an outer fold, from 0, and its name in errors.

    Raises PluginError if it cannot be loaded.
    """
    who = Called(name=member.name, plugin=member.plugin.name, origin=member.origin)
    folder = experiment.models[member.name][fold]
    return who, call(who, f"loading its model of fold {fold + 1}", partial(member.plugin.load, folder))


def explain_out_of_fold(experiment: Experiment, member: Member, fold: int, sample: Sample) -> Explanation:
    """Explain the raw score from the model of that fold, which never saw the patient; PluginError from the model."""
    who, model = outer_model(experiment, member, fold)
    own = handed(sample, member.extractor)
    return call(who, f"explaining patient {sample.patient_id}", partial(model.explain, own))
