"""Makes the batch of a graph dynamic that was exported for one size. Whether that is sound, ``checks`` finds out."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from training.packing.graph import Lookup, copied


def with_dynamic_batch(model: onnx.ModelProto, noise: str, batch: int) -> onnx.ModelProto:
    """Returns the model with every size that was the batch's left open: in inputs, outputs, and constant sizes.

    ``noise`` is the input whose first size is the batch. A constant first size that only happens to equal the batch is
    opened, too: the images then differ, or the graph does not run.
    """
    model = copied(model)
    graph = model.graph
    for entry in (*graph.input, *graph.output):
        sizes = entry.type.tensor_type.shape.dim
        if sizes and sizes[0].dim_value == batch:
            sizes[0].dim_param = "N"
    del graph.value_info[:]
    lookup = Lookup(model)
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        position = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}.get(node.op_type)
        sizes = None if position is None else lookup.constant(node.input[position])
        if position is not None and sizes is not None and sizes.size > 1 and sizes.flat[0] == batch:
            prefix = f"figment/batch/{index}"
            rest = np.asarray(sizes[1:], np.int64)
            if node.op_type == "Reshape" and -1 not in rest:
                rest = np.array([-1, *rest], np.int64)
                graph.initializer.append(numpy_helper.from_array(rest, f"{prefix}/sizes"))
            else:
                graph.initializer.append(numpy_helper.from_array(rest, f"{prefix}/rest"))
                graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{prefix}/first"))
                nodes += [
                    helper.make_node("Shape", [noise], [f"{prefix}/shape"]),
                    helper.make_node("Gather", [f"{prefix}/shape", f"{prefix}/first"], [f"{prefix}/count"]),
                    helper.make_node("Concat", [f"{prefix}/count", f"{prefix}/rest"], [f"{prefix}/sizes"], axis=0),
                ]
            node.input[position] = f"{prefix}/sizes"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model
