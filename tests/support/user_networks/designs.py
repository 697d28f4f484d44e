"""Classifiers that show one idea each: fire modules, branches, shuffles, maxout, normed weights, pyramids."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class Fire(nn.Module):
    def __init__(self, cin, squeeze, e1, e3):
        super().__init__()
        self.squeeze = nn.Conv2d(cin, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, e1, 1)
        self.expand3 = nn.Conv2d(squeeze, e3, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1(x)), self.act(self.expand3(x))], 1)


class SqueezeNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 24, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(Fire(24, 8, 16, 16), Fire(32, 8, 16, 16), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(32, 12, 24, 24)),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(48, 12, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1)))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class DepthwiseSeparable(nn.Sequential):
    def __init__(self, cin, cout, stride):
        super().__init__(
            *(nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False), nn.BatchNorm2d(cin), nn.ReLU6(inplace=True)),
            *(nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU6(inplace=True)),
        )


class MobileNetV1(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            *(DepthwiseSeparable(16, 32, 1), DepthwiseSeparable(32, 64, 2), DepthwiseSeparable(64, 64, 1)),
            nn.AvgPool2d(8),
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.model(x).view(-1, 64))


class RepVGGBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.identity = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None
        self.dense = nn.Sequential(OrderedDict(conv=nn.Conv2d(cin, cout, 3, stride, 1, bias=False), bn=nn.BatchNorm2d(cout)))
        self.one = nn.Sequential(OrderedDict(conv=nn.Conv2d(cin, cout, 1, stride, bias=False), bn=nn.BatchNorm2d(cout)))
        self.nonlinearity = nn.ReLU()

    def forward(self, x):
        identity = 0 if self.identity is None else self.identity(x)
        return self.nonlinearity(self.dense(x) + self.one(x) + identity)


class RepVGG(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [RepVGGBlock(3, 16, 2), RepVGGBlock(16, 16), RepVGGBlock(16, 32, 2), RepVGGBlock(32, 32)]
        self.stages = nn.ModuleList(blocks)
        self.gap = nn.AdaptiveAvgPool2d(output_size=1)
        self.linear = nn.Linear(32, 10)

    def forward(self, x):
        for block in self.stages:
            x = block(x)
        x = self.gap(x)
        return self.linear(x.view(x.size(0), -1))


class InceptionBlock(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.b1 = nn.Conv2d(cin, 8, 1)
        self.b2 = nn.Sequential(nn.Conv2d(cin, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, (1, 5), padding=(0, 2)), nn.ReLU())
        self.b3 = nn.Sequential(nn.Conv2d(cin, 4, 1), nn.Conv2d(4, 8, 5, padding="same"))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(cin, 8, 1))

    def forward(self, x):
        return F.relu(torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], dim=1))


class SmallGoogLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(True))
        self.a, self.b = InceptionBlock(16), InceptionBlock(36)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.avgpool = nn.AvgPool2d(8, stride=1)
        self.linear = nn.Linear(36, 10)

    def forward(self, x):
        out = self.avgpool(self.maxpool(self.b(self.maxpool(self.a(self.pre(x))))))
        return self.linear(torch.flatten(out, start_dim=1))


class ShuffleUnit(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.groups = groups
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, groups=groups, bias=False)
        self.dw = nn.Conv2d(channels // 4, channels // 4, 3, padding=1, groups=channels // 4, bias=False)
        self.conv3 = nn.Conv2d(channels // 4, channels, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def shuffle(self, x):
        n, c, h, w = x.size()
        return x.view(n, self.groups, c // self.groups, h, w).permute(0, 2, 1, 3, 4).contiguous().view(n, c, h, w)

    def forward(self, x):
        out = self.shuffle(F.relu(self.conv1(x)))
        return F.relu(self.bn(self.conv3(self.dw(out))) + x)


class ShuffleNetV1(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 48, 3, 2, 1)
        self.units = nn.Sequential(ShuffleUnit(48, 3), ShuffleUnit(48, 3))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.units(self.stem(x)), 1)[:, :, 0, 0])


class AllConv(nn.Module):
    """No pooling, no linear layer; dropout on the input."""

    def __init__(self):
        super().__init__()
        self.c = nn.ModuleList([nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, 2, 1), nn.Conv2d(24, 10, 1)])

    def forward(self, x):
        x = F.dropout(x, 0.2, training=self.training)
        x = self.c[0](x).clamp(min=0)
        x = torch.relu_(self.c[1](x))
        return self.c[2](x).mean(3).mean(2)


class MaxoutNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 5, padding=2)
        self.fc = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x):
        a, b = torch.chunk(self.conv(x), 2, 1)
        return self.fc(F.max_pool2d(torch.max(a, b), 4).flatten(1))


class LightCNN(nn.Module):
    """Max feature maps by split."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 24, 5, 1, 2)
        self.conv2 = nn.Conv2d(12, 24, 3, 1, 1)
        self.fc = nn.Linear(12 * 64, 20)

    def forward(self, x):
        out = torch.split(self.conv(x), 12, 1)
        x = F.max_pool2d(torch.max(out[0], out[1]), 2)
        out = torch.split(self.conv2(x), 12, 1)
        x = F.max_pool2d(torch.max(out[0], out[1]), 2, ceil_mode=True)
        out = torch.split(self.fc(x.view(x.size(0), -1)), 10, 1)
        return torch.max(out[0], out[1])


class WeightNormNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3))
        self.b = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 16, 3))
        self.fc = nn.utils.weight_norm(nn.Linear(16, 10))

    def forward(self, x):
        return self.fc(F.relu(self.b(F.relu(self.a(x)))).amax((2, 3)))


class StandardisedConv(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = w - w.mean(dim=(1, 2, 3), keepdim=True)
        w = w / (w.view(w.size(0), -1).std(dim=1).view(-1, 1, 1, 1) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class MultiScale(nn.Module):
    """Features of three depths, pooled and put side by side."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1)
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        a = F.relu(self.a(x))
        b = F.relu(self.b(a))
        c = F.relu(self.c(b))
        pooled = [F.adaptive_avg_pool2d(t, 1).flatten(1) for t in (a, b, c)]
        return self.fc(torch.cat(pooled, dim=-1))


class SpatialPyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.fc = nn.Linear(12 * 21, 10)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.fc(torch.cat([F.adaptive_max_pool2d(x, n).view(x.size(0), -1) for n in (4, 2, 1)], 1))


class BlurPoolNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        f = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", ((f[:, None] * f) / 16).expand(16, 1, 3, 3).clone())
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.conv2d(F.pad(x, [1, 1, 1, 1], mode="reflect"), self.kernel, stride=2, groups=16)
        return self.fc(F.relu(x).mean((2, 3)))


class PadSame(nn.Module):
    """TensorFlow's padding by hand."""

    def __init__(self, cin, cout, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride)

    def forward(self, x):
        ih, iw = x.size()[-2:]
        (kh, kw), (sh, sw) = self.conv.weight.size()[-2:], self.conv.stride
        ph = max((math.ceil(ih / sh) - 1) * sh + kh - ih, 0)
        pw = max((math.ceil(iw / sw) - 1) * sw + kw - iw, 0)
        if ph > 0 or pw > 0:
            x = F.pad(x, [pw // 2, pw - pw // 2, ph // 2, ph - ph // 2])
        return self.conv(x)


class StochasticDepth(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.stem, self.p = nn.Conv2d(3, 16, 3, 2, 1), 0.2

    def forward(self, x):
        x = self.stem(x)
        for conv in self.convs:
            branch = conv(F.relu(x))
            if self.training:
                branch = branch * torch.empty(x.size(0), 1, 1, 1).bernoulli_(1 - self.p)
            x = x + (1 - self.p) * branch
        return x.mean((2, 3))


CIFAR = (3, 32, 32)
NETWORKS = {
    "squeezenet": (SqueezeNetLike, (3, 48, 48)),
    "mobilenet_v1": (MobileNetV1, CIFAR),
    "repvgg": (RepVGG, CIFAR),
    "googlenet": (SmallGoogLeNet, CIFAR),
    "shufflenet_v1": (ShuffleNetV1, CIFAR),
    "all_convolutional": (AllConv, CIFAR),
    "maxout": (MaxoutNet, CIFAR),
    "light_cnn": (LightCNN, (1, 32, 32)),
    "weight_norm": (WeightNormNet, CIFAR),
    "weight_standardised": (
        lambda: nn.Sequential(StandardisedConv(3, 16, 3), nn.ReLU(), nn.AvgPool2d(30), nn.Flatten(), nn.Linear(16, 4)),
        CIFAR,
    ),
    "multi_scale": (MultiScale, CIFAR),
    "spatial_pyramid": (SpatialPyramid, (3, 24, 24)),
    "blur_pool": (BlurPoolNet, CIFAR),
    "same_padding": (lambda: nn.Sequential(PadSame(3, 8, 3, 2), nn.ReLU(), PadSame(8, 12, 5, 3)), (3, 35, 30)),
    "stochastic_depth": (StochasticDepth, CIFAR),
}
