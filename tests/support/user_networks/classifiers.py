"""Classifiers of pictures as users write them: tutorials, course work, small research code."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class LeNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)

    def num_flat_features(self, x):
        count = 1
        for s in x.size()[1:]:
            count *= s
        return count


class TanhLeNet(nn.Module):
    """As it was published, with tanh and average pooling."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2))
        )
        self.classifier = nn.Sequential(nn.Linear(16 * 25, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))

    def forward(self, x):
        return F.log_softmax(self.classifier(torch.flatten(self.features(x), 1)), dim=1)


class MnistExample(nn.Module):
    """Of the framework's own examples."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = torch.flatten(x, 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


CFG = {
    "A": [16, "M", 32, "M", 64, 64, "M", 128, 128, "M"],
    "B": [16, 16, "M", 32, 32, "M", 64, 64, "A", 128, "M"],
}


class CifarVGG(nn.Module):
    def __init__(self, cfg, batch_norm=True, classes=10):
        super().__init__()
        layers, channels = [], 3
        for v in cfg:
            if v == "M":
                layers += [nn.MaxPool2d(2, 2)]
            elif v == "A":
                layers += [nn.AvgPool2d(2, 2)]
            else:
                layers += [nn.Conv2d(channels, v, 3, padding=1, bias=not batch_norm)]
                layers += [nn.BatchNorm2d(v)] if batch_norm else []
                layers += [nn.ReLU(inplace=True)]
                channels = v
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(channels * 4, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.data.normal_(0, math.sqrt(2.0 / (9 * m.out_channels)))

    def forward(self, x):
        return self.classifier(self.features(x).reshape(x.size(0), -1))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, cin, cout, stride=1, option="B"):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        if stride != 1 or cin != cout:
            if option == "A":
                self.shortcut = LambdaLayer(
                    lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, (cout - cin) // 2, (cout - cin) // 2), "constant", 0)
                )
            else:
                self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class LambdaLayer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class CifarResNet(nn.Module):
    def __init__(self, option="B", normalise=False):
        super().__init__()
        self.normalise = normalise
        self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = BasicBlock(16, 16, 1, option)
        self.layer2 = BasicBlock(16, 32, 2, option)
        self.layer3 = BasicBlock(32, 64, 2, option)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        if self.normalise:
            x = (x / 255 - self.mean) / self.std
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class PreActBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(cin), nn.BatchNorm2d(cout)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class WideResNet(nn.Module):
    def __init__(self, widen=2):
        super().__init__()
        w = [16, 16 * widen, 32 * widen]
        self.conv1 = nn.Conv2d(3, w[0], 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(PreActBlock(w[0], w[1]), PreActBlock(w[1], w[1]), PreActBlock(w[1], w[2], 2))
        self.bn = nn.BatchNorm2d(w[2])
        self.fc = nn.Linear(w[2], 10)

    def forward(self, x):
        out = F.relu(self.bn(self.blocks(self.conv1(x))))
        out = F.adaptive_avg_pool2d(out, (1, 1)).squeeze(-1).squeeze(-1)
        return self.fc(out)


class DenseLayer(nn.Sequential):
    def __init__(self, cin, growth):
        super().__init__(
            OrderedDict(
                [
                    ("norm1", nn.BatchNorm2d(cin)),
                    ("relu1", nn.ReLU(inplace=True)),
                    ("conv1", nn.Conv2d(cin, 4 * growth, 1, bias=False)),
                    ("norm2", nn.BatchNorm2d(4 * growth)),
                    ("relu2", nn.ReLU(inplace=True)),
                    ("conv2", nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)),
                ]
            )
        )

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class SmallDenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.block1 = nn.Sequential(*(DenseLayer(16 + 8 * i, 8) for i in range(3)))
        self.transition = nn.Sequential(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1, bias=False), nn.AvgPool2d(2))
        self.block2 = nn.Sequential(*(DenseLayer(20 + 8 * i, 8) for i in range(2)))
        self.head = nn.Linear(36, 10)

    def forward(self, x):
        x = F.relu(self.block2(self.transition(self.block1(self.stem(x)))))
        return self.head(x.mean([2, 3]))


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


class SEBlock(nn.Module):
    def __init__(self, channels, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            *(nn.Linear(channels, channels // reduction, bias=False), nn.ReLU(inplace=True)),
            *(nn.Linear(channels // reduction, channels, bias=False), nn.Sigmoid()),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        return x * self.fc(y).view(b, c, 1, 1).expand_as(x)


class SEResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.block, self.se = BasicBlock(16, 16), SEBlock(16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.se(self.block(self.stem(x))).mean((-1, -2)))


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


def sequential_tutorial():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)),
        nn.Softmax(dim=1),
    )


def with_activation(activation):
    def make():
        layers = [nn.Conv2d(3, 16, 3), activation(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3), activation()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))

    return make


CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
NETWORKS = {
    "lenet": (LeNet, MNIST),
    "lenet_tanh": (TanhLeNet, (1, 32, 32)),
    "mnist_example": (MnistExample, MNIST),
    "vgg_a_bn": (lambda: CifarVGG(CFG["A"]), CIFAR),
    "vgg_b_plain": (lambda: CifarVGG(CFG["B"], False), CIFAR),
    "resnet_option_a": (lambda: CifarResNet("A"), CIFAR),
    "resnet_normalising": (lambda: CifarResNet("B", True), CIFAR),
    "wide_resnet": (WideResNet, CIFAR),
    "densenet": (SmallDenseNet, CIFAR),
    "squeezenet": (SqueezeNetLike, (3, 48, 48)),
    "mobilenet_v1": (MobileNetV1, CIFAR),
    "se_resnet": (SEResNet, CIFAR),
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
    "sequential_softmax": (sequential_tutorial, CIFAR),
    "leaky_relu": (with_activation(nn.LeakyReLU), CIFAR),
    "elu": (with_activation(nn.ELU), CIFAR),
    "gelu": (with_activation(nn.GELU), CIFAR),
    "group_norm": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 8, 3)), CIFAR),
}
