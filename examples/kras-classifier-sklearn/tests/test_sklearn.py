"""What kras relies on, and what this classifier promises; of both models."""

from pathlib import Path

import kras_classifier_sklearn as plugin
import numpy as np
import pytest

from kras_plugins.testing import conformance

test_boosting = conformance(plugin)
test_svm = conformance(plugin, options={"classifier:sklearn": {"model": "svm"}})


@pytest.mark.parametrize("model", ["boosting", "svm"])
def test_a_model_learns_and_scores_the_same_when_it_was_saved(model: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((120, 6))
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int8)
    fitted = plugin.Sklearn(plugin.SklearnOptions(model=model), seed=1)
    fitted.learn(x, y)
    fitted.write(tmp_path)
    again = plugin.Sklearn(plugin.SklearnOptions(model=model), seed=1)
    again.read(tmp_path)
    np.testing.assert_array_equal(again.score(x), fitted.score(x))
    assert np.mean((again.score(x) > 0) == y) > 0.95
