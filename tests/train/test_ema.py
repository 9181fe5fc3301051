"""ModelEma equals the formula."""

import torch
from torch import nn

from blitznet.train.ema import ModelEma


def test_average_equals_the_formula() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = ModelEma(net)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    for step, decay in enumerate((0.2, 0.5, 0.9), start=1):
        net(torch.randn(2, 3, 5, 5))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(net, decay)
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
        averages = average.net.state_dict()
        for name, value in expected.items():
            if value.is_floating_point():
                torch.testing.assert_close(averages[name], value)
        assert averages["1.num_batches_tracked"] == step


def test_average_is_a_copy_without_gradients() -> None:
    net = nn.Linear(2, 2).train()
    average = ModelEma(net)
    assert not average.net.training
    assert net.training
    assert not any(parameter.requires_grad for parameter in average.net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    with torch.no_grad():
        net.weight.add_(1)
    assert not torch.equal(average.net.state_dict()["weight"], net.weight)
