from __future__ import annotations

import numpy as np

from kras_plugins.learning.fusion import fuse


def test_a_missing_member_spoils_the_strict_mean_and_leaves_the_available_one():
    nan = np.nan
    fused = fuse({"a": np.array([[1.0, 1.0, nan]]), "b": np.array([[3.0, nan, nan]])})
    np.testing.assert_array_equal(fused.strict, [[2.0, nan, nan]])
    np.testing.assert_array_equal(fused.available, [[2.0, 1.0, nan]])
