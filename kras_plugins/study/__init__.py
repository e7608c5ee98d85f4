"""A study, callable from Python: the command line, workflow engines and services use this.

    from kras_plugins import study

    settings = study.StudySettings(folds=5).with_options("extractor.vit.model=vit-mini")
    result = study.train("cohort.csv", settings, out="results", notify=study.bars())
    print(result.auroc(), result.auroc("histology_only", among="all_patients"))
    result.predictions.to_pandas()

Heavy libraries are imported when a verb is called.
"""

from kras_plugins.study.embed import embed
from kras_plugins.study.features import features
from kras_plugins.study.monitor import monitor
from kras_plugins.study.notebook import bars
from kras_plugins.study.notify import SILENT, Notify, Silent
from kras_plugins.study.plan import plan
from kras_plugins.study.profile import profile
from kras_plugins.study.results import read_training, read_validation
from kras_plugins.study.score import score
from kras_plugins.study.settings import StudySettings
from kras_plugins.study.train import train
from kras_plugins.study.validate import validate

__all__ = [
    "SILENT", "Notify", "Silent", "StudySettings", "bars", "embed", "features", "monitor", "plan", "profile",
    "read_training", "read_validation", "score", "train", "validate",
]  # fmt: skip
