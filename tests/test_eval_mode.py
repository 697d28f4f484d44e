"""A module that torch has exported keeps its mode: exported as it is used it is taken, and while it trains it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bfp import BfpError
from calib.eval_mode import to_eval
from calib.frontend.importer import import_module

TRAINING = {"batch norm": (nn.BatchNorm2d(4), "writes to"), "dropout": (nn.Dropout(0.5), "dropout that stays active")}


def exported(kind: str, training: bool) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), TRAINING[kind][0], nn.ReLU()).train(training)
    return torch.export.export(module, (torch.zeros(1, 3, 8, 8),)).module()


@pytest.mark.parametrize("kind", TRAINING)
def test_what_was_exported_while_it_trained_is_refused(kind):
    with pytest.raises(BfpError, match=TRAINING[kind][1]):
        import_module(to_eval(exported(kind, True)), (3, 8, 8), "net")
    assert import_module(to_eval(exported(kind, False)), (3, 8, 8), "net").graph.nodes


def test_other_modules_stop_training():
    module = nn.Sequential(nn.Dropout(0.5)).train()
    assert to_eval(module) is module and not module.training and not module[0].training
