"""TensorRT's rule for uint8 inputs: each feeds one Cast to floating point and nothing else.

TensorRT 10.1 and later refuse any other graph ("All UINT8 inputs must directly feed into a cast layer", NVIDIA/TensorRT
issue 3985). Exporters put `Transpose` and `Shape` first: `obey` moves the Cast before them. Moving pixels and casting
them commute, and 0 to 255 are exact in float32, so the results do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import GraphProto, ModelProto, NodeProto

_MOVES = frozenset(("Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))
"""Operators whose output contains values of their first input, in its type: they may come after the Cast as well."""

_MEASURES = frozenset(("Shape", "Size"))
"""Operators that read no value."""


def broken_rule(model: ModelProto) -> str:
    """What TensorRT would refuse in this graph, in words; empty where the graph keeps the rule."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    for name in _uint8_inputs(model.graph):
        readers = list(_readers(model.graph, name))
        kinds = ", ".join(sorted({node.op_type for node in readers})) or "nothing"
        if len(readers) != 1 or readers[0].op_type != "Cast" or _target(readers[0]) not in floats:
            return f"uint8 input {name!r} feeds {kinds}, not one Cast to floating point"
    return ""


def obey(model: ModelProto) -> None:
    """Rewrite a graph so that it keeps the rule, in place.

    A graph that keeps it is left alone. So is one that computes with the uint8 values themselves, returns them or
    passes them to a branch: reordering cannot help there, and `broken_rule` names it. CPUs run such graphs.
    """
    if broken_rule(model):
        for name in _uint8_inputs(model.graph):
            _cast_first(model.graph, name)


def _cast_first(graph: GraphProto, name: str) -> None:
    from onnx import TensorProto, helper

    cast, moved = f"{name}_float", {name}
    # In the graph's own order, which is topological: a tensor's readers come after it.
    for node in graph.node:
        read = [i for i, tensor in enumerate(node.input) if tensor in moved]
        if read == [0] and node.op_type in _MOVES:
            moved.update(node.output)
        elif read and node.op_type not in ("Cast", *_MEASURES):
            return
    if moved & {*_of_subgraphs(graph), *(output.name for output in graph.output)}:
        return
    for node in graph.node:
        for i, tensor in enumerate(node.input):
            if tensor == name:
                node.input[i] = cast
    for value in graph.value_info:
        if value.name in moved:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    graph.node.insert(0, helper.make_node("Cast", [name], [cast], name=cast, to=TensorProto.FLOAT))
    _drop_idle_casts(graph, (moved - {name}) | {cast})


def _drop_idle_casts(graph: GraphProto, floats: set[str]) -> None:
    """Remove Casts to float32 of tensors that are now float32 already."""
    from onnx import TensorProto

    kept = {output.name for output in graph.output} | set(_of_subgraphs(graph))
    idle = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Cast"
        and node.input[0] in floats
        and _target(node) == TensorProto.FLOAT
        and node.output[0] not in kept
    }
    for node in graph.node:
        for i, tensor in enumerate(node.input):
            if tensor in idle:
                node.input[i] = idle[tensor].input[0]
    for node in idle.values():
        graph.node.remove(node)


def _uint8_inputs(graph: GraphProto) -> list[str]:
    from onnx import TensorProto

    return [i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8]


def _readers(graph: GraphProto, tensor: str) -> Iterator[NodeProto]:
    """The nodes that read a tensor, including those with a subgraph that reads it."""
    for node in graph.node:
        inner = (attribute.g for attribute in node.attribute if attribute.HasField("g"))
        if tensor in node.input or any(any(_readers(g, tensor)) for g in inner):
            yield node


def _of_subgraphs(graph: GraphProto) -> Iterator[str]:
    """Every tensor that the subgraphs of a graph read."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                for inner in attribute.g.node:
                    yield from inner.input
                yield from (output.name for output in attribute.g.output)
                yield from _of_subgraphs(attribute.g)


def _target(cast: NodeProto) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")
