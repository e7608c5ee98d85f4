"""A fitted forest as plain arrays: small, readable forever, and every path through it can be walked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins import StoreError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, Float64

    Int32 = npt.NDArray[np.int32]

_ROWS = 64
"""Samples walked at once, so that the working set fits in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class Forest:
    """All trees' nodes end to end.

    `roots` int32[tree]; per node: `left`, `right` int32 (index of the child, −1 in a leaf), `feature` int32,
    `threshold` float64 (left when x ≤ threshold), `value` float64 (share of positives, as weighted in training).
    """

    roots: Int32
    left: Int32
    right: Int32
    feature: Int32
    threshold: Float64
    value: Float64

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], columns: int) -> Forest:
        """The forest of a file, for a table of `columns` columns.

        Raises StoreError for invalid arrays: every node must come before its children, so that each walk ends.
        """
        whole, real = np.dtype(np.int32), np.dtype(np.float64)
        kinds: dict[str, np.dtype[Any]] = {
            **dict.fromkeys(("roots", "left", "right", "feature"), whole),
            **dict.fromkeys(("threshold", "value"), real),
        }
        if {name: a.dtype for name, a in arrays.items()} != kinds or any(a.ndim != 1 for a in arrays.values()):
            raise _no_forest("it has other arrays")
        left, right, roots = arrays["left"], arrays["right"], arrays["roots"]
        n = len(left)
        if not n or not len(roots) or any(len(arrays[name]) != n for name in kinds if name != "roots"):
            raise _no_forest("its arrays differ in length, or are empty")
        inner = left >= 0
        own = np.arange(n)
        children = np.stack([left, right])
        if not np.array_equal(inner, right >= 0) or (children[:, inner] <= own[inner]).any() or (children >= n).any():
            raise _no_forest("a child does not come after its parent")
        if ((roots < 0) | (roots >= n)).any() or ((arrays["feature"] >= columns) | (arrays["feature"] < 0))[
            inner
        ].any():
            raise _no_forest("it refers to a root or a column that does not exist")
        if not np.isfinite(arrays["value"]).all() or np.isnan(arrays["threshold"][inner]).any():
            raise _no_forest("a value or threshold is not a number")
        return cls(**arrays)

    @classmethod
    def from_trees(cls, trees: Sequence[Any]) -> Forest:
        """Take over the `tree_` of fitted scikit-learn classification trees with classes 0 and 1."""
        counts = np.array([tree.node_count for tree in trees])
        roots = np.cumsum(counts) - counts

        def children(name: str) -> Int32:
            parts = [getattr(t, name) for t in trees]
            shifted = [np.where(p < 0, -1, p + root) for p, root in zip(parts, roots, strict=True)]
            return np.concatenate(shifted).astype(np.int32)

        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        return cls(
            roots=roots.astype(np.int32),
            left=children("children_left"),
            right=children("children_right"),
            feature=np.concatenate([tree.feature for tree in trees]).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            value=values[:, 1] / values.sum(axis=1),
        )

    def score(self, table: Float32) -> Float64:
        """Mean leaf value float64[sample] of float32[sample column]: the first result of `walk`, without the second."""
        found = np.empty(len(table))
        for start in range(0, len(table), _ROWS):
            rows = table[start : start + _ROWS]
            node = np.tile(self.roots, len(rows))
            under_way = np.flatnonzero(self.left[node] >= 0)
            while len(under_way):
                at = node[under_way]
                goes_left = rows[under_way // len(self.roots), self.feature[at]] <= self.threshold[at]
                node[under_way] = child = np.where(goes_left, self.left[at], self.right[at])
                under_way = under_way[self.left[child] >= 0]
            leaves = self.value[node].reshape(len(rows), -1)
            found[start : start + _ROWS] = leaves.sum(axis=1) / len(self.roots)
        return found

    def walk(self, table: Float32) -> tuple[Float64, Float64]:
        """Mean leaf value float64[sample] of float32[sample column], and its decomposition float64[sample column].

        The second sums, over all trees, the change of the node value at each split to the column split on (Saabas
        2014; Palczewska et al. 2013), divided by the number of trees: its row sum is the score minus `base`.
        """
        rows = np.arange(len(table))[:, None]
        node = np.broadcast_to(self.roots, (len(table), len(self.roots)))
        contribution = np.zeros(table.shape)
        while (inner := self.left[node] >= 0).any():
            column = np.where(inner, self.feature[node], 0)
            goes_left = table[rows, column] <= self.threshold[node]
            child = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
            np.add.at(contribution, (rows, column), self.value[child] - self.value[node])
            node = child
        trees = len(self.roots)
        return self.value[node].sum(axis=1) / trees, contribution / trees

    @property
    def base(self) -> float:
        """Mean value of the roots: the score before any split."""
        return float(self.value[self.roots].mean())


def _no_forest(why: str) -> StoreError:
    return StoreError(f"forest.safetensors is not a forest: {why}", "train the model again")
