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
    "se_resnet": (SEResNet, CIFAR),
    "sequential_softmax": (sequential_tutorial, CIFAR),
    "leaky_relu": (with_activation(nn.LeakyReLU), CIFAR),
    "elu": (with_activation(nn.ELU), CIFAR),
    "gelu": (with_activation(nn.GELU), CIFAR),
    "group_norm": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 8, 3)), CIFAR),
}
