"""Whole heads of published networks, written as their authors do, that end on the host: as torch, over random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import lively
from support.quantised import quantised
from torch import nn

from bfp import golden
from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.network import float_model

SHAPE = (3, 16, 16)


class Heads(nn.Module):
    """A convolution for each head, on maps of half and of a quarter of the size."""

    def __init__(self, function, *channels):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.heads = nn.ModuleList([nn.ModuleList([nn.Conv2d(8, c, 1) for c in channels]) for _ in range(2)])

    def forward(self, x):
        y = F.relu(self.first(x))
        z = F.relu(self.second(y))
        return self.function(*([head(value) for head in heads] for value, heads in zip((y, z), self.heads)))


def keypoints(large, small):
    """SuperPoint: the last channel of a softmax left out, channels as pixels, suppression by pooling; unit descriptors."""
    scores, descriptors = small
    scores = F.softmax(scores, 1)[:, :-1]
    b, _, h, w = scores.shape
    scores = scores.permute(0, 2, 3, 1).reshape(b, h, w, 4, 4).permute(0, 1, 3, 2, 4).reshape(b, h * 4, w * 4)

    def pool(value):
        return F.max_pool2d(value, kernel_size=5, stride=1, padding=2)

    zeros = torch.zeros_like(scores)
    kept = scores == pool(scores)
    for _ in range(2):
        near = pool(kept.float()) > 0
        others = torch.where(near, zeros, scores)
        kept = kept | ((others == pool(others)) & (~near))
    return torch.where(kept, scores, zeros), F.normalize(descriptors, p=2, dim=1)


def without_suppression(large, small):
    """YOLOv10: the best rows by two top-k, indices of the only image and of rows."""
    rows = torch.cat([torch.cat(level, 1).flatten(2) for level in (large, small)], 2).transpose(-1, -2)
    boxes, scores = rows.split([17, 7], -1)
    boxes, scores = boxes[..., :4].exp(), scores.sigmoid()
    index = scores.amax(dim=-1).topk(8)[1].unsqueeze(-1)
    boxes, scores = boxes.gather(1, index.repeat(1, 1, 4)), scores.gather(1, index.repeat(1, 1, 7))
    scores, index = scores.flatten(1).topk(8)
    i = torch.arange(1)[..., None]
    return torch.cat([boxes[i, index // 7], scores[..., None], (index % 7)[..., None].float()], dim=-1)


def best_places(large, small):
    """CenterNet's decoding: top-k of every class, then of all, places as quotients and remainders, maps read there."""
    heat, wh = large[0][:, :3].sigmoid_(), large[1]
    heat = heat * (F.max_pool2d(heat, (3, 3), stride=1, padding=1) == heat).float()
    b, c, h, w = heat.size()
    scores, at = torch.topk(heat.view(b, c, -1), 6)
    at = at % (h * w)
    ys, xs = (at / w).int().float(), (at % w).int().float()
    score, index = torch.topk(scores.view(b, -1), 5)
    kind = (index / 6).int()

    def chosen(value, places):
        return value.gather(1, places.unsqueeze(2).expand(places.size(0), places.size(1), value.size(2)))

    places = chosen(at.view(b, -1, 1), index).view(b, 5)
    ys, xs = (chosen(v.view(b, -1, 1), index).view(b, 5, 1) for v in (ys, xs))
    size = chosen(wh.permute(0, 2, 3, 1).contiguous().view(b, -1, wh.size(1)), places)
    return torch.cat([xs - size[..., 0:1] / 2, ys + size[..., 1:2] / 2, score.unsqueeze(2), kind.unsqueeze(2).float()], 2)


def prototypes(large, small):
    """Masks as products of prototypes and coefficients (YOLACT)."""
    coefficients = torch.tanh(small[1]).flatten(2).transpose(1, 2)
    return torch.sigmoid(F.relu(large[1]).permute(0, 2, 3, 1).reshape(1, -1, 7) @ coefficients.transpose(1, 2))


def adaptive_bins(large, small):
    """Depth by bins whose widths the network chooses (AdaBins): a border of another number, sums along an axis."""
    widths = F.relu(small[0].mean((2, 3))) + 0.1
    widths = 9.9 * widths / widths.sum(1, keepdim=True)
    edges = torch.cumsum(F.pad(widths, (1, 0), mode="constant", value=0.1), 1)
    centres = 0.5 * (edges[:, :-1] + edges[:, 1:])
    return torch.sum(F.softmax(large[0], 1) * centres.view(*centres.shape, 1, 1), 1, keepdim=True)


HEADS = {f.__name__: f for f in (keypoints, without_suppression, best_places, prototypes, adaptive_bins)}


@pytest.mark.parametrize("case", HEADS)
def test_heads_of_published_networks(case):
    module = lively(Heads(HEADS[case], 17, 7))
    network = import_module(module, SHAPE, "net")
    torch.manual_seed(2)
    images = torch.randn(2, *SHAPE)
    found = float_model.returned(network, images)
    found = list(found.values()) if isinstance(found, dict) else [found]
    for n in range(2):
        wanted = [v.detach().numpy() for v in torch.utils._pytree.tree_leaves(module(images[n : n + 1]))]
        assert [v[n : n + 1].shape for v in found] == [v.shape for v in wanted]
        for ours, theirs in zip(found, wanted):
            np.testing.assert_allclose(ours[n], theirs[0], rtol=1e-4, atol=1e-5)
    artifact, _, images = quantised(module, SHAPE)
    assert artifact.joins == network.joins
    returned = golden.returned(artifact, golden.quantise_input(artifact, images[:1].numpy()))
    assert all(np.isfinite(v).all() for v in (returned.values() if isinstance(returned, dict) else [returned]))


def test_attention_is_not_the_hosts():
    def attention(large, small):
        q = small[1].flatten(2)
        return (q.transpose(1, 2) @ q).softmax(-1) @ q.transpose(1, 2)

    with pytest.raises(BfpError, match="attention and recurrent layers are not taken"):
        import_module(lively(Heads(attention, 17, 7)), SHAPE, "net")
