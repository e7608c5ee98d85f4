"""Gated-attention MIL (Ilse, Tomczak & Welling, ICML 2018, arXiv 1802.04712), several networks at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class GatedAttention(nn.Module):
    """A batch of networks, with the network as first axis of every parameter: run one by one, they waste a CPU.

    Per tile h = ReLU(W x + b) of the standardized features x; attention logit e = wᵀ(tanh(V h) ⊙ σ(U h)); tile score
    s = cᵀ h + d. A bag's logit is Σ softmax(e)ₖ sₖ, which equals c and d applied to the attention-pooled h of the paper
    but needs only two numbers per tile, so a bag of any size can be run in pieces. `base` float32[network]: the mean
    logit of the training bags, from which contributions of tiles are counted.
    """

    def __init__(
        self, networks: int, mean: Tensor, sd: Tensor, hidden: int, attention: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        dim = len(mean)
        self.mean = nn.Buffer(mean)
        self.sd = nn.Buffer(sd)
        self.base = nn.Buffer(torch.zeros(networks))

        def uniform(*shape: int, fan_in: int) -> nn.Parameter:  # as torch.nn.Linear starts
            bound = 1 / math.sqrt(fan_in)
            return nn.Parameter((torch.rand(networks, *shape, generator=generator) * 2 - 1) * bound)

        self.embed = uniform(dim, hidden, fan_in=dim)
        self.embed_bias = uniform(1, hidden, fan_in=dim)
        self.heads = uniform(hidden, 2 * attention + 1, fan_in=hidden)  # V, U and c beside each other
        self.head_biases = uniform(1, 2 * attention + 1, fan_in=hidden)
        self.attend = uniform(attention, 1, fan_in=attention)

    def tiles(self, x: Tensor, drop: Dropout | None = None) -> tuple[Tensor, Tensor]:
        """Attention logits and scores float32[network tile] of tiles float32[tile feature]."""
        x = (x - self.mean) / self.sd
        if drop is not None:
            x = drop.features(x)
        h = torch.baddbmm(self.embed_bias, x.expand(len(self.embed), -1, -1), self.embed).relu_()
        if drop is not None:
            h = drop.hidden(h)
        heads = torch.baddbmm(self.head_biases, h, self.heads)
        v, u = heads[..., :-1].chunk(2, dim=-1)
        e = torch.bmm(torch.tanh(v) * torch.sigmoid(u), self.attend)
        return e.squeeze(-1), heads[..., -1]

    def pool(self, e: Tensor, s: Tensor) -> Tensor:
        """The bag's logit float32[network] from its tiles' attention logits and scores."""
        return (e.softmax(dim=-1) * s).sum(dim=-1)

    def forward(self, x: Tensor, lengths: list[int], drop: Dropout | None = None) -> Tensor:
        """Logits float32[network bag] of bags laid end to end in float32[tile feature]."""
        e, s = self.tiles(x, drop)
        bags = zip(torch.split(e, lengths, dim=-1), torch.split(s, lengths, dim=-1), strict=True)
        return torch.stack([self.pool(*bag) for bag in bags], dim=-1)


class Dropout:
    """Dropout that draws from its own generator, so that it neither disturbs others nor is disturbed."""

    def __init__(self, feature_share: float, hidden_share: float, generator: torch.Generator) -> None:
        self._shares = feature_share, hidden_share
        self._generator = generator

    def features(self, x: Tensor) -> Tensor:
        """Drop whole input features, for all tiles and networks of the step."""
        return x * self._keep((x.shape[-1],), self._shares[0])

    def hidden(self, h: Tensor) -> Tensor:
        """Drop hidden units, tile by tile and network by network."""
        return h * self._keep(h.shape, self._shares[1])

    def _keep(self, shape: tuple[int, ...], share: float) -> Tensor:
        drawn = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return drawn.ge_(share).div_(1 - share)
