"""Networks of sequences, spectrograms and frames, and spellings of common layers, as users write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class M5(nn.Module):
    """Speech commands from the wave."""

    def __init__(self, n=16, classes=12):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(1, n, 80, stride=16), nn.BatchNorm1d(n)
        self.conv2, self.bn2 = nn.Conv1d(n, n, 3), nn.BatchNorm1d(n)
        self.conv3, self.bn3 = nn.Conv1d(n, 2 * n, 3), nn.BatchNorm1d(2 * n)
        self.pool = nn.MaxPool1d(4)
        self.fc1 = nn.Linear(2 * n, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.avg_pool1d(x, x.shape[-1])
        x = self.fc1(x.permute(0, 2, 1))
        return F.log_softmax(x, dim=2)


class Ecg(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 5, stride=1)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"a": nn.Conv1d(16, 16, 5, padding=2), "b": nn.Conv1d(16, 16, 5, padding=2)}) for _ in range(2)
        )
        self.pool = nn.MaxPool1d(5, stride=2)
        self.fc1, self.fc2 = nn.Linear(16 * 31, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.conv(x)
        for block in self.blocks:
            s = block["b"](F.relu(block["a"](x)))
            x = self.pool(F.relu(torch.add(s, x)))
        x = x.view(x.size(0), -1)
        return F.softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


class TCN(nn.Module):
    """Causal convolutions, padded on the left and cut; dilated where asked."""

    def __init__(self, dilated):
        super().__init__()
        self.steps = [2**i if dilated else 1 for i in range(3)]
        self.convs = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=2 * d, dilation=d) for d in self.steps)
        self.inp, self.out = nn.Conv1d(2, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = self.inp(x)
        for conv, d in zip(self.convs, self.steps):
            x = F.relu(x + F.relu(conv(x)[:, :, : -2 * d].contiguous()))
        return self.out(x[:, :, -1])


class DSCNN(nn.Module):
    """Keyword spotting on MFCCs."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 24, (10, 4), (2, 2), (5, 1), bias=False), nn.BatchNorm2d(24), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.BatchNorm2d(24), nn.ReLU()]
            layers += [nn.Conv2d(24, 24, 1), nn.BatchNorm2d(24), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.fc = nn.Linear(24, 12)

    def forward(self, x):
        x = self.net(x)
        return self.fc(F.avg_pool2d(x, x.shape[2:]).squeeze())[None]


class BCResidual(nn.Module):
    """Frequencies averaged, the mean added back: a sum that is broadcast."""

    def __init__(self):
        super().__init__()
        self.f, self.t = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8), nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8)
        self.stem, self.fc = nn.Conv2d(1, 8, 5, (2, 1), 2), nn.Conv2d(8, 12, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.f(x)
        z = self.t(y.mean(2, keepdim=True))
        return self.fc(F.relu(x + y + z)).mean((2, 3))


class MatchboxBlock(nn.Module):
    def __init__(self, cin, cout, k):
        super().__init__()
        self.depth = nn.Conv1d(cin, cin, k, padding=k // 2, groups=cin, bias=False)
        self.point, self.bn = nn.Conv1d(cin, cout, 1, bias=False), nn.BatchNorm1d(cout)
        self.res = nn.Sequential(nn.Conv1d(cin, cout, 1, bias=False), nn.BatchNorm1d(cout))

    def forward(self, x):
        return F.relu(self.bn(self.point(self.depth(x))) + self.res(x))


class MatchboxNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(MatchboxBlock(40, 32, 11), MatchboxBlock(32, 32, 13), nn.AdaptiveAvgPool1d(1))
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc(torch.squeeze(self.net(x), -1))


class MelCNN(nn.Module):
    """A spectrogram given without channels axis inside."""

    def __init__(self):
        super().__init__()
        self.bn0, self.conv, self.fc = nn.BatchNorm2d(32), nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x):
        x = x.transpose(1, 3)
        x = self.bn0(x)
        x = x.transpose(1, 3)
        x = F.relu_(self.conv(x))
        x = torch.mean(x, dim=3)
        x1, _ = torch.max(x, dim=2)
        x2 = torch.mean(x, dim=2)
        return self.fc(x1 + x2)


class EEGNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, (1, 31), padding=(0, 15), bias=False), nn.BatchNorm2d(8)
        self.depth, self.bn2 = nn.Conv2d(8, 16, (22, 1), groups=8, bias=False), nn.BatchNorm2d(16)
        self.sep = nn.Sequential(nn.Conv2d(16, 16, (1, 15), padding=(0, 7), groups=16), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16 * 4, 4)

    def forward(self, x):
        x = self.bn2(self.depth(self.bn1(self.conv1(x))))
        x = F.avg_pool2d(F.relu(x), (1, 4))
        x = F.avg_pool2d(F.relu(self.sep(x)), (1, 8))
        return self.fc(torch.flatten(x, 1))


class TextCNN(nn.Module):
    """Embeddings come in as a sequence; windows of three widths, the largest of each."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(50, 16, k) for k in (3, 4, 5))
        self.fc = nn.Linear(48, 2)

    def forward(self, x):
        x = [F.relu(conv(x)) for conv in self.convs]
        x = [F.max_pool1d(i, i.size(2)).squeeze(2) for i in x]
        return self.fc(F.dropout(torch.cat(x, 1), 0.5, self.training))


class PointNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv1d(3, 24, 1), nn.BatchNorm1d(24), nn.ReLU(), nn.Conv1d(24, 48, 1), nn.BatchNorm1d(48))
        self.fc = nn.Sequential(nn.Linear(48, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 5))

    def forward(self, x):
        x = torch.max(self.mlp(x), 2, keepdim=True)[0]
        return self.fc(x.view(-1, 48))


class C3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(1, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x.unsqueeze(1)))
        return self.fc(x.mean((2, 3, 4)))


class FramesAsChannels(nn.Module):
    """Differences of neighbouring frames beside the frames."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(7, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.Flatten())
        self.fc = nn.Linear(16 * 36, 3)

    def forward(self, x):
        return self.fc(self.net(torch.cat([x, x[:, 1:] - x[:, :-1]], 1)))


class SharedPyramid(nn.Module):
    """One head on several scales, their results one behind the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 2, 1)
        self.head = nn.Conv2d(16, 6, 3, padding=1)

    def forward(self, x):
        maps = [F.relu(self.a(x))]
        maps.append(F.relu(self.b(maps[0])))
        return torch.cat([self.head(m).permute(0, 2, 3, 1).reshape(1, -1, 6) for m in maps], 1)


class GhostModule(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.out = cout
        self.primary = nn.Sequential(nn.Conv2d(cin, cout // 2, 1, bias=False), nn.BatchNorm2d(cout // 2), nn.ReLU(True))
        self.cheap = nn.Sequential(nn.Conv2d(cout // 2, cout // 2, 3, 1, 1, groups=cout // 2), nn.ReLU(True))

    def forward(self, x):
        x1 = self.primary(x)
        return torch.cat([x1, self.cheap(x1)], dim=1)[:, : self.out, :, :]


class CoordConv(nn.Module):
    """Coordinates beside the picture."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(5, 16, 3, 2), nn.Linear(16, 4)

    def forward(self, x):
        h, w = x.shape[-2:]
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        grid = torch.stack([ys, xs]).unsqueeze(0).expand(x.shape[0], -1, -1, -1)
        return self.fc(F.relu(self.conv(torch.cat([x, grid], 1))).flatten(2).max(-1).values)


class ConvGate(nn.Module):
    """A gate on every pixel."""

    def __init__(self):
        super().__init__()
        self.a, self.gate, self.out = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.out(self.a(x) * torch.sigmoid(self.gate(x)))


class GlobalContext(nn.Module):
    """The mean of everything added to every pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.context, self.out = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.out(x + self.context(F.adaptive_avg_pool2d(x, 1)))


class Functional(nn.Module):
    """Weights as parameters of its own."""

    def __init__(self):
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.2), nn.Parameter(torch.zeros(8))
        self.w2 = nn.Parameter(torch.randn(4, 8 * 49) * 0.05)

    def forward(self, x):
        x = F.conv2d(x, self.w1, self.b1, stride=2, padding=1)
        x = torch.clamp(x, 0, 6)
        x = F.max_pool2d(x, 3, 1)
        return torch.matmul(x.reshape(1, -1), self.w2.t())


class Addmm(nn.Module):
    """The classifier by hand."""

    def __init__(self):
        super().__init__()
        self.conv, self.w, self.b = nn.Conv2d(3, 8, 3, 2), nn.Parameter(torch.randn(8, 5)), nn.Parameter(torch.zeros(5))

    def forward(self, x):
        x = F.relu(self.conv(x)).mean((2, 3))
        return torch.addmm(self.b, x, self.w) + x @ self.w


class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4))
            for _ in range(3)
        )

    def forward(self, x):
        return torch.stack([m(x) for m in self.members]).mean(0)


class Slicing(nn.Module):
    """Focus: four pictures of every second pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(12, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        return self.fc(self.conv(x).relu().sum((2, 3)) / 256)


NETWORKS = {
    "m5_audio": (M5, (1, 4000)),
    "ecg": (Ecg, (1, 140)),
    "tcn": (lambda: TCN(False), (2, 32)),
    "tcn_dilated": (lambda: TCN(True), (2, 32)),
    "ds_cnn": (DSCNN, (1, 49, 10)),
    "bc_resnet": (BCResidual, (1, 40, 50)),
    "matchboxnet": (MatchboxNet, (40, 64)),
    "mel_cnn": (MelCNN, (1, 40, 32)),
    "eegnet": (EEGNet, (1, 22, 128)),
    "text_cnn": (TextCNN, (50, 24)),
    "pointnet": (PointNetLike, (3, 64)),
    "c3d": (C3D, (8, 16, 16)),
    "frames": (FramesAsChannels, (4, 31, 31)),
    "shared_pyramid": (SharedPyramid, (3, 32, 32)),
    "ghost": (lambda: nn.Sequential(GhostModule(3, 16), GhostModule(16, 24), nn.AvgPool2d(16)), (3, 16, 16)),
    "coord_conv": (CoordConv, (3, 24, 24)),
    "conv_gate": (ConvGate, (3, 24, 24)),
    "global_context": (GlobalContext, (3, 24, 24)),
    "functional": (Functional, (3, 18, 18)),
    "addmm": (Addmm, (3, 16, 16)),
    "ensemble": (Ensemble, (3, 16, 16)),
    "focus": (Slicing, (3, 32, 32)),
}
