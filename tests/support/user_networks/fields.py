"""Networks of other tasks as users write them: maps as results, sequences, games, faces, generators and their critics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def double_conv(cin, cout):
    return nn.Sequential(
        *(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)),
        *(nn.Conv2d(cout, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)),
    )


class UNet(nn.Module):
    def __init__(self, bilinear=True):
        super().__init__()
        self.inc, self.down = double_conv(3, 8), nn.Sequential(nn.MaxPool2d(2), double_conv(8, 16))
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.up = up if bilinear else nn.ConvTranspose2d(16, 16, 2, 2)
        self.conv, self.outc = double_conv(24, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.up(self.down(x1))
        dy, dx = x1.size()[2] - x2.size()[2], x1.size()[3] - x2.size()[3]
        x2 = F.pad(x2, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.outc(self.conv(torch.cat([x1, x2], dim=1)))


class FlatUNet(nn.Module):
    """Skips over stacks of plain convolutions, at one scale."""

    def __init__(self):
        super().__init__()
        self.e1, self.e2, self.mid = double_conv(3, 8), double_conv(8, 12), double_conv(12, 12)
        self.d2, self.d1, self.out = double_conv(24, 8), double_conv(16, 8), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        skips = [self.e1(x)]
        skips.append(self.e2(skips[-1]))
        x = self.mid(skips[-1])
        x = self.d2(torch.cat((x, skips.pop()), 1))
        x = self.d1(torch.cat((x, skips.pop()), 1))
        return torch.sigmoid(self.out(x))


class FCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(24, 5, 1)

    def forward(self, x):
        return F.interpolate(self.head(self.body(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)


class Encoder(nn.Module):
    """An encoder whose map is the result, classes by argmax."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 6, 3, 1, 1))

    def forward(self, x):
        return self.body(x).softmax(1).argmax(1)


class DnCNN(nn.Module):
    def __init__(self, depth=5):
        super().__init__()
        layers = [nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(24, 1, 3, padding=1, bias=False))

    def forward(self, x):
        return x - self.dncnn(x)


class SRCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 9, padding=9 // 2)
        self.conv2 = nn.Conv2d(32, 16, 5, padding=5 // 2)
        self.conv3 = nn.Conv2d(16, 1, 5, padding=5 // 2)

    def forward(self, x):
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))).clamp(0.0, 1.0)


class ESPCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.last(self.feature(x)), 2)


class EDSRBody(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(True), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(2)
        )
        self.tail = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        x = head = self.head(x - 0.45)
        for block in self.blocks:
            x = x + block(x).mul(0.1)
        return self.tail(x + head) + 0.45


class Autoencoder(nn.Module):
    """The middle of it is a vector; a linear layer makes the picture."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.code, self.decoder = nn.Linear(16 * 49, 16), nn.Linear(16, 784)

    def forward(self, x):
        code = F.relu(self.code(self.encoder(x).flatten(start_dim=1)))
        return self.decoder(code).view(-1, 1, 28, 28)


class ConvAutoencoder(nn.Module):
    def __init__(self, transposed):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU())
        if transposed:
            up = [nn.ConvTranspose2d(24, 12, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(12, 3, 4, 2, 1)]
        else:
            up = [nn.Upsample(scale_factor=2), nn.Conv2d(24, 12, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)]
            up += [nn.Conv2d(12, 3, 3, padding=1)]
        self.decoder = nn.Sequential(*up, nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Siamese(nn.Module):
    """One branch, which makes the embedding."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            *(nn.Conv2d(1, 16, 10), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 7), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.fc = nn.Linear(24 * 36, 32)

    def forward(self, x):
        return F.normalize(self.fc(self.cnn(x).view(x.size()[0], -1)), p=2, dim=1)


class Regressor(nn.Module):
    """Landmarks: x and y of each point."""

    def __init__(self, points=5):
        super().__init__()
        self.points = points
        self.backbone = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten()),
        )
        self.head = nn.Linear(128, 2 * points)

    def forward(self, x):
        return self.head(self.backbone(x)).reshape(-1, self.points, 2)


class PilotNet(nn.Module):
    """Steering by pictures, scaled inside."""

    def __init__(self):
        super().__init__()
        self.conv_layers = nn.Sequential(
            *(nn.Conv2d(3, 24, 5, stride=2), nn.ReLU(), nn.Conv2d(24, 36, 5, stride=2), nn.ReLU()),
            *(nn.Conv2d(36, 48, 3), nn.ReLU(), nn.Dropout(0.5)),
        )
        self.linear_layers = nn.Sequential(nn.Linear(48 * 12 * 33, 50), nn.ReLU(), nn.Linear(50, 1))

    def forward(self, x):
        x = x / 127.5 - 1
        return self.linear_layers(self.conv_layers(x).view(x.size(0), -1))


class PoseHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stage = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.heat, self.fields = nn.Conv2d(16, 17, 1), nn.Conv2d(16, 34, 1)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.stage(x), x], 1)[:, :16] + x
        return torch.cat([self.heat(x), self.fields(x)], 1)


class Hourglass(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.low = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.stem, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        low = F.relu(self.low(F.max_pool2d(x, 2)))
        return self.out(self.up(x) + F.interpolate(low, scale_factor=2, mode="nearest"))


class Discriminator(nn.Module):
    def __init__(self, leaky=True):
        super().__init__()

        def act():
            return nn.LeakyReLU(0.2, inplace=True) if leaky else nn.ReLU(inplace=True)

        self.main = nn.Sequential(
            *(nn.Conv2d(3, 16, 4, 2, 1, bias=False), act(), nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), act()),
            *(nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), act(), nn.Conv2d(64, 1, 4, 1, 0, bias=False)),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.main(x).view(-1, 1).squeeze(1)


class PatchCritic(nn.Module):
    def __init__(self):
        super().__init__()
        sn = nn.utils.spectral_norm
        self.a, self.b = sn(nn.Conv2d(3, 16, 4, 2, 1)), sn(nn.Conv2d(16, 32, 4, 2, 1))
        self.c = nn.Conv2d(32, 1, 4, 1, 1)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.a(x), True)), True)
        return self.c(F.pad(x, (1, 1, 1, 1)))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.deconv = nn.Linear(32, 16 * 16), nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def forward(self, z):
        return torch.tanh(self.deconv(F.relu(self.fc(z.flatten(1))).view(-1, 16, 4, 4)))


class StyleNet(nn.Module):
    """Reflection padding."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(3, 16, 9), nn.ReLU())
        self.b = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(16, 3, 3))

    def forward(self, x):
        return self.b(self.a(x))


NETWORKS = {
    "unet_bilinear": (UNet, (3, 32, 32)),
    "unet_transposed": (lambda: UNet(False), (3, 32, 32)),
    "unet_flat": (FlatUNet, (3, 24, 24)),
    "fcn": (FCN, (3, 32, 32)),
    "segmentation_encoder": (Encoder, (3, 32, 32)),
    "dncnn": (DnCNN, (1, 24, 24)),
    "srcnn": (SRCNN, (1, 24, 24)),
    "espcn": (ESPCN, (1, 24, 24)),
    "edsr_body": (EDSRBody, (3, 24, 24)),
    "autoencoder_linear": (Autoencoder, (1, 28, 28)),
    "autoencoder_transposed": (lambda: ConvAutoencoder(True), (3, 32, 32)),
    "autoencoder_upsample": (lambda: ConvAutoencoder(False), (3, 32, 32)),
    "siamese": (Siamese, (1, 45, 45)),
    "landmarks": (Regressor, (3, 48, 48)),
    "pilotnet": (PilotNet, (3, 66, 150)),
    "pose_head": (PoseHead, (3, 64, 48)),
    "hourglass": (Hourglass, (3, 32, 32)),
    "discriminator_leaky": (Discriminator, (3, 32, 32)),
    "discriminator_relu": (lambda: Discriminator(False), (3, 32, 32)),
    "patch_critic": (PatchCritic, (3, 32, 32)),
    "generator": (Generator, (32, 1, 1)),
    "style_reflection": (StyleNet, (3, 32, 32)),
}
