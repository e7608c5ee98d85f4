"""LightGBM's text format, checked before LightGBM reads it: it trusts every index and size in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from kras_plugins import StoreError

MOST_BYTES = 256 << 20
_DEEPEST = 500
"""The explanation of a score descends the branches by recursion."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_CATEGORICAL, _MOST_DECISION = 1, 11


def check_model(text: str, columns: int) -> None:
    """Raise StoreError unless this is a model of one score of `columns` columns, as LightGBM writes it.

    In every tree, nodes come before their children and each is reached once; values are finite; there are no categories
    and no linear leaves.
    """
    if not text.isascii() or re.search(r"[^\n\x20-\x7e]", text):
        raise _no_model("it is not text")
    head, *trees = re.split(r"(?m)^(?=Tree=)", text)
    if not head.startswith("tree\n") or not trees:
        raise _no_model("it contains no tree")
    trees[-1], end, _ = trees[-1].partition("end of trees\n")
    if not end:
        raise _no_model("its end is missing")
    facts = _lines(head)
    one = {"num_class": "1", "num_tree_per_iteration": "1", "max_feature_idx": str(columns - 1)}
    for key, value in one.items():
        if facts.get(key) != value:
            raise _no_model(f"{key} is {facts.get(key, 'missing')[:20]}, it must be {value}")
    if not facts.get("objective", "").startswith("binary ") or len(facts.get("feature_infos", "").split()) != columns:
        raise _no_model("it is not a binary classifier of its columns")
    if facts.get("feature_names", "").split() != [f"column_{i}" for i in range(columns)]:
        raise _no_model("its columns have other names")
    if facts.get("tree_sizes", "").split() != [str(len(tree)) for tree in trees]:
        raise _no_model("tree_sizes are not those of its trees")
    for i, tree in enumerate(trees):
        try:
            _check_tree(_lines(tree), i, columns)
        except (ValueError, KeyError, IndexError, OverflowError) as e:
            raise _no_model(f"tree {i}: {e}") from e


def _check_tree(facts: Mapping[str, str], number: int, columns: int) -> None:
    if facts["Tree"] != str(number) or facts["num_cat"] != "0" or facts.get("is_linear", "0") != "0":
        raise ValueError("it has another number, categories or linear leaves")
    leaves = _whole(facts, "num_leaves", 1)[0]
    if leaves < 1 or not np.isfinite(_real(facts, "leaf_value", leaves)).all():
        raise ValueError("it has no finite leaf")
    nodes = leaves - 1
    if not nodes:
        return
    feature, decision = _whole(facts, "split_feature", nodes), _whole(facts, "decision_type", nodes)
    if feature.min() < 0 or feature.max() >= columns:
        raise ValueError("it splits on a column that is not there")
    if (decision & _CATEGORICAL).any() or decision.min() < 0 or decision.max() > _MOST_DECISION:
        raise ValueError("it splits in an unknown way")
    _real(facts, "threshold", nodes)
    for key, n in (("leaf_count", leaves), ("internal_count", nodes)):
        _whole(facts, key, n)
    for key, n in (
        ("split_gain", nodes),
        ("leaf_weight", leaves),
        ("internal_value", nodes),
        ("internal_weight", nodes),
    ):
        _real(facts, key, n)
    left, right = _whole(facts, "left_child", nodes), _whole(facts, "right_child", nodes)
    children = np.concatenate([left, right])
    if sorted(children.tolist()) != [*range(-leaves, 0), *range(1, nodes)]:
        raise ValueError("a node or leaf is not reached once")
    depth = np.zeros(nodes, np.int64)
    for i in range(nodes):
        for child in (left[i], right[i]):
            if 0 <= child <= i:
                raise ValueError("a child does not come after its parent")
            if child > 0:
                depth[child] = depth[i] + 1
    if depth.max() > _DEEPEST:
        raise ValueError(f"it is deeper than {_DEEPEST} splits")


def _lines(text: str) -> dict[str, str]:
    """The lines KEY=VALUE; StoreError for a duplicate key."""
    pairs = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _no_model("a line is duplicated")
    return found


def _whole(facts: Mapping[str, str], key: str, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    words = facts[key].split(" ")
    if len(words) != n or not all(re.fullmatch(r"-?\d{1,10}", word) for word in words):
        raise ValueError(f"{key} is not {n} whole numbers")
    return np.array([int(word) for word in words], np.int64)


def _real(facts: Mapping[str, str], key: str, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    words = facts[key].split(" ")
    if len(words) != n or not all(_NUMBER.fullmatch(word) for word in words):
        raise ValueError(f"{key} is not {n} numbers")
    return np.array([float(word) for word in words])


def _no_model(why: str) -> StoreError:
    return StoreError(f"model.txt is not a model of classifier lgbm: {why}", "train the model again")
