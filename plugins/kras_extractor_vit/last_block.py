"""The last transformer block if only the class token is needed: the same numbers for 7 % less work in a ViT-S."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


class ClassTokenBlock(torch.nn.Module):
    """timm's pre-norm `Block` for the class token alone; the other tokens serve as keys and values only.

    float32[n token d] -> float32[n 1 d], equal to the block's first token. If the class token is the feature, nothing
    else is read after the last block, so the queries, projection and MLP of all other tokens need not be computed.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The class token after the block."""
        block: Any = self.block
        attention = block.attn
        heads, width = attention.num_heads, attention.qkv.out_features // 3
        x = block.norm1(tokens)
        weight, bias = attention.qkv.weight, attention.qkv.bias
        q = F.linear(x[:, :1], weight[:width], None if bias is None else bias[:width])
        kv = F.linear(x, weight[width:], None if bias is None else bias[width:])
        n, count, _ = x.shape
        q = q.reshape(n, 1, heads, -1).transpose(1, 2)
        k, v = kv.reshape(n, count, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(attention.q_norm(q), attention.k_norm(k), v)
        y = attention.proj(attention.norm(y.transpose(1, 2).flatten(2)))
        token: torch.Tensor = tokens[:, :1] + block.ls1(y)
        result: torch.Tensor = token + block.ls2(block.mlp(block.norm2(token)))
        return result


def keep_class_token_only(vit: Any) -> None:
    """Replace a timm ViT's last block in place if it is of the standard kind; others are left as they are."""
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block

    last = vit.blocks[-1]
    if type(last) is Block and type(last.attn) is Attention and getattr(last.attn, "gate", None) is None:
        vit.blocks[-1] = ClassTokenBlock(last)
