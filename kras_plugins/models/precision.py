"""The arithmetic of an ONNX graph: read from its own types, and lowered to float16 where it pays.

A precision passed to an engine beside the graph does not bind it: under TensorRT's FP16 flag every layer could choose,
and TensorRT 11 has no such flag. Where no flag is set, ONNX Runtime gives TensorRT a strongly typed network, which
computes in the graph's types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from kras_plugins.errors import BackendError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

Precision = Literal["f32", "f16", "bf16", "int8"]

_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"))
"""These take nearly all the time; the normalization of pixels ends at the first of them."""

_DELICATE = frozenset(
    ("Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "Pow",
     "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "RMSNormalization", "Softmax")
)  # fmt: skip
"""Sums and exponentials stay in float32: beyond 65,504 float16 is infinite, which large encoders reach."""

_QUANTIZED = frozenset(("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"))


def graph_precision(model: ModelProto) -> Precision:
    """The coarsest arithmetic in a graph."""
    from onnx import TensorProto

    kinds = {node.op_type for node in model.graph.node}
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    if kinds & _QUANTIZED:
        return "int8"
    if TensorProto.BFLOAT16 in types:
        return "bf16"
    return "f16" if TensorProto.FLOAT16 in types else "f32"


def has_offsets(model: ModelProto) -> bool:
    """Whether a quantized graph has zero points other than 0, which TensorRT refuses."""
    from onnx import numpy_helper

    points = {n.input[2] for n in model.graph.node if n.op_type in _QUANTIZED and len(n.input) > 2}
    return any(numpy_helper.to_array(t).any() for t in model.graph.initializer if t.name in points)


def to_f16(model: ModelProto) -> list[str]:
    """Let the body of a float32 graph compute in float16, in place: everything from the first product on, with weights.

    These stay in float32: inputs and outputs, the normalization of uint8 pixels (everything between them and the first
    convolution or matrix product), normalizing layers and softmax, and what ONNX defines for float32 alone. A graph
    without products stays as it is. Returns the tensors that are float16 now; only examples can show whether their
    values fit. Raises BackendError for graphs that branch or are already in another precision.
    """
    found = graph_precision(model)
    if found != "f32":
        raise BackendError(f"the graph computes in {found} already", "export it with --precision f32: as it is")
    if any(a.HasField("g") for node in model.graph.node for a in node.attribute):
        raise BackendError("the graph branches, which is not lowered to f16", "export it with --precision f32")
    floats = _float_tensors(model)
    exact = _exact_nodes(model, floats)
    body = [node for i, node in enumerate(model.graph.node) if i not in exact]
    if not any(node.op_type in _PRODUCTS for node in body):
        return []
    lowered = _Lowering(model.graph, floats).run(exact, _opsets(model))
    kept = [value for value in model.graph.value_info if value.name not in floats]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    return lowered


class _Lowering:
    """One pass over the nodes, which casts each tensor at most once in each direction."""

    def __init__(self, graph: GraphProto, floats: set[str]) -> None:
        self._graph = graph
        self._floats = floats
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._outputs = {output.name for output in graph.output}
        self._lowered: set[str] = set()
        self._cast: dict[tuple[str, bool], str] = {}
        self._nodes: list[NodeProto] = []

    def run(self, exact: set[int], opsets: dict[str, int]) -> list[str]:
        """Replace the graph's nodes; returns the tensors that they compute in float16."""
        from onnx import TensorProto, helper

        for i, node in enumerate(list(self._graph.node)):
            lowers = i not in exact
            free = _free_inputs(node, opsets) if lowers else set()
            for k, tensor in enumerate(node.input):
                if tensor in self._floats:
                    node.input[k] = self._as(tensor, lowers and k in free)
            if lowers and node.op_type == "Cast":
                for attribute in node.attribute:
                    if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                        attribute.i = TensorProto.FLOAT16
            self._nodes.append(node)
            for k, tensor in enumerate(node.output):
                if lowers and tensor in self._floats:
                    self._lowered.add(tensor)
                    if tensor in self._outputs:
                        node.output[k] = f"{tensor}_f16"
                        self._cast[tensor, True] = node.output[k]
                        cast = helper.make_node("Cast", [node.output[k]], [tensor], to=TensorProto.FLOAT)
                        cast.name = f"{tensor}_f32"
                        self._nodes.append(cast)
                        self._cast[tensor, False] = tensor
        read = {tensor for node in self._nodes for tensor in node.input}
        kept = [tensor for tensor in self._weights.values() if tensor.name in read]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(kept)
        return sorted(self._cast.get((tensor, True), tensor) for tensor in self._lowered)

    def _as(self, tensor: str, half: bool) -> str:
        """The name of a float tensor in float16 or float32, made where it is not there yet."""
        from onnx import TensorProto, helper

        known = self._cast.get((tensor, half))
        if known is not None:
            return known
        if (tensor in self._lowered) == half:
            return tensor
        name = f"{tensor}_{'f16' if half else 'f32'}"
        if tensor in self._weights:
            self._weights[name] = _half(self._weights[tensor], name)
        else:
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self._nodes.append(helper.make_node("Cast", [tensor], [name], name=name, to=to))
        self._cast[tensor, half] = name
        return name


def _half(tensor: TensorProto, name: str) -> TensorProto:
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    return numpy_helper.from_array(values.clip(-65504, 65504).astype(np.float16), name)


def _float_tensors(model: ModelProto) -> set[str]:
    """Names of all float32 tensors; BackendError where the graph does not say the types of all."""
    from onnx import TensorProto, shape_inference

    graph = model.graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    values |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    made = {tensor for node in graph.node for tensor in node.output if tensor}
    if not made <= set(values) and model.ByteSize() < 1_900_000_000:
        values |= {v.name: v.type.tensor_type.elem_type for v in shape_inference.infer_shapes(model).graph.value_info}
    if unknown := sorted(made - set(values)):
        raise BackendError(f"the graph does not state the type of {unknown[0]!r}", "export it with --precision f32")
    return {name for name, kind in values.items() if kind == TensorProto.FLOAT}


def _exact_nodes(model: ModelProto, floats: set[str]) -> set[int]:
    """Places of the nodes that stay in float32."""
    from onnx import TensorProto

    opsets = _opsets(model)
    pixels = {i.name for i in model.graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
    exact = set()
    for i, node in enumerate(model.graph.node):
        from_pixels = node.op_type not in _PRODUCTS and any(tensor in pixels for tensor in node.input)
        if from_pixels:
            pixels.update(tensor for tensor in node.output if tensor in floats)
        if from_pixels or node.op_type in _DELICATE or not _can_lower(node, opsets, floats):
            exact.add(i)
    return exact


def _can_lower(node: NodeProto, opsets: dict[str, int], floats: set[str]) -> bool:
    """Whether ONNX defines the operator so that its float outputs follow those inputs that may be float16."""
    from onnx import defs

    if not any(tensor in floats for tensor in node.output):
        return True  # shapes, comparisons and indices: nothing to lower but inputs
    if node.op_type == "Cast":
        return True
    try:
        schema = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except defs.SchemaError:
        return False
    free = _free_inputs(node, opsets)
    variables = {_formal(schema.inputs, i).type_str for i in free if node.input[i] in floats}
    return all(
        _formal(schema.outputs, i).type_str in variables for i, tensor in enumerate(node.output) if tensor in floats
    )


def _free_inputs(node: NodeProto, opsets: dict[str, int]) -> set[int]:
    """Places of the inputs that may be float16 for this operator."""
    from onnx import defs

    try:
        schema = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except defs.SchemaError:
        return set()
    halves = {c.type_param_str for c in schema.type_constraints if "tensor(float16)" in c.allowed_type_strs}
    return {i for i in range(len(node.input)) if _formal(schema.inputs, i).type_str in halves}


def _formal(parameters: Any, place: int) -> Any:
    """The schema's entry for an input or output; the last one covers all that follow (Concat, Split)."""
    return parameters[min(place, len(parameters) - 1)]


def _opsets(model: ModelProto) -> dict[str, int]:
    return {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in model.opset_import}
