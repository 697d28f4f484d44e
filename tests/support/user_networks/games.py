"""Networks of games, boxes and text lines as users write them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn


class DQN(nn.Module):
    def __init__(self, actions=6):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 32, kernel_size=8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3, stride=1)
        self.fc1 = nn.Linear(7 * 7 * 64, 128)
        self.fc2 = nn.Linear(128, actions)

    def forward(self, x):
        x = x.float() / 255.0
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x))
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))


class DuelingDQN(nn.Module):
    """Value and advantage."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten())
        self.value = nn.Sequential(nn.Linear(32 * 81, 32), nn.ReLU(), nn.Linear(32, 1))
        self.advantage = nn.Sequential(nn.Linear(32 * 81, 32), nn.ReLU(), nn.Linear(32, 6))

    def forward(self, x):
        x = self.features(x)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(1, keepdim=True)


class ChessNet(nn.Module):
    """Policy of a board game: planes in, logits of moves out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(18, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.tower = nn.ModuleList(
            nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
            for _ in range(2)
        )
        self.policy, self.fc = nn.Conv2d(32, 2, 1), nn.Linear(2 * 64, 100)

    def forward(self, x):
        x = self.stem(x)
        for block in self.tower:
            x = F.relu(block(x) + x)
        return self.fc(self.policy(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1))


class YoloHead(nn.Module):
    """One scale, reshaped as boxes."""

    def __init__(self, anchors=3, classes=4, leaky=False):
        super().__init__()
        self.no, self.na = classes + 5, anchors
        act = nn.LeakyReLU(0.1) if leaky else nn.ReLU()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), act, nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, 1, 1))
        self.head = nn.Conv2d(24, anchors * self.no, 1)

    def forward(self, x):
        x = self.head(F.relu(self.body(x)))
        b, _, h, w = x.shape
        return x.view(b, self.na, self.no, h, w).permute(0, 1, 3, 4, 2).contiguous()


class OCRBackbone(nn.Module):
    """Columns of a text line as a sequence of classes, without recurrence."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2, 2), nn.Conv2d(16, 24, 3, 1, 1), nn.ReLU(True)),
            *(nn.MaxPool2d((2, 1), (2, 1)), nn.Conv2d(24, 32, (3, 1)), nn.BatchNorm2d(32), nn.ReLU(True)),
        )
        self.fc = nn.Linear(32, 11)

    def forward(self, x):
        x = self.cnn(x)
        x = x.mean(dim=2).permute(0, 2, 1)
        return F.log_softmax(self.fc(x), dim=2)


class CRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d((1, None)))
        self.rnn, self.fc = nn.LSTM(16, 16, batch_first=True), nn.Linear(16, 11)

    def forward(self, x):
        return self.fc(self.rnn(self.cnn(x).squeeze(2).transpose(1, 2))[0])


NETWORKS = {
    "dqn": (DQN, (4, 84, 84)),
    "dueling_dqn": (DuelingDQN, (4, 84, 84)),
    "chess": (ChessNet, (18, 8, 8)),
    "yolo_relu": (YoloHead, (3, 64, 64)),
    "yolo_leaky": (lambda: YoloHead(leaky=True), (3, 64, 64)),
    "ocr_columns": (OCRBackbone, (1, 32, 64)),
    "crnn": (CRNN, (1, 16, 64)),
}
