import torch
import torch.nn.functional as F
from learned import learned
from torch import nn

from mgm_core.networks.layers.blocks import UpStage


def test_an_up_stage_is_its_layers_over_enlarged_and_skip_features():
    torch.manual_seed(3)
    stage = learned(UpStage(5, 4, 6, nn.Conv2d(6, 2, 1)))
    deep, *skip = torch.rand(2, 5, 3, 4), torch.rand(2, 1, 6, 8), torch.rand(2, 3, 6, 8)
    enlarged = deep.repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = F.conv2d(torch.cat([enlarged, *skip], 1), stage[0].weight, padding=1)
    x = F.batch_norm(x, stage[1].running_mean, stage[1].running_var, stage[1].weight, stage[1].bias)
    torch.testing.assert_close(stage(deep, *skip), stage[3](x.relu()))


def test_what_is_learned_keeps_its_names():
    assert set(UpStage(5, 4, 6).state_dict()) == set(
        nn.Sequential(nn.Conv2d(9, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()).state_dict()
    )
