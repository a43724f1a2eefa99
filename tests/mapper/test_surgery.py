"""Looking into modules and exchanging linears, on networks of every architecture and on plain modules."""

import copy

import pytest
import torch
from torch import nn

from mapper import surgery
from mapper.network import stacks
from rtl.spec.params import ConfigError
from tests.mapper import networks

EVERY = pytest.mark.parametrize("architecture", list(networks.CONFIGS))


@EVERY
def test_calls_chain_to_the_output(architecture, tmp_path):
    """Layer after layer gives what the whole network computes; twice, since a call may be run again."""
    network = networks.loaded(architecture, tmp_path)
    batch = networks.batches(1)[0]
    last = stacks(network)[-1]
    seen = []
    handle = network.module.get_submodule(last[-1]).register_forward_hook(
        lambda _, args, output: seen.append(output)
    )
    with torch.no_grad():
        surgery.forward(network.module, batch)
        handle.remove()
        for _ in range(2):
            call = surgery.calls(network.module, [network.module.get_submodule(last[0])], batch)[0]
            for _ in range(2):
                now = call
                for name in last:
                    now = now.after(network.module.get_submodule(name))
                torch.testing.assert_close(now.args[0], seen[0])


@EVERY
def test_calls_carry_no_cache(architecture, tmp_path):
    """A layer that is run again would append to it."""
    network = networks.loaded(architecture, tmp_path)
    layer = network.module.get_submodule(stacks(network)[-1][0])
    call = surgery.calls(network.module, [layer], networks.batches(1)[0])[0]
    assert not any("Cache" in type(v).__name__ for v in (*call.args, *call.kwargs.values()))


def test_calls_leave_no_hook_behind():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    call = surgery.calls(module, [module[1]], {"input": torch.ones(1, 2)})[0]
    torch.testing.assert_close(call.args[0], module[0](torch.ones(1, 2)))
    torch.testing.assert_close(call.run(module[1]), module(torch.ones(1, 2)))
    assert not module[1]._forward_pre_hooks


def test_inputs_stop_the_run():
    after = []
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    module[1].register_forward_hook(lambda *_: after.append(1))
    x = torch.ones(1, 2)
    found = surgery.inputs(module[1], lambda: module(x))
    torch.testing.assert_close(found, module[0](x))
    assert not after and not module[1]._forward_pre_hooks


SHARING = {
    "bert": [3, 1, 1, 1],
    "gpt2": [3, 1, 1, 1],
    "bart": [3, 1, 1, 2, 1, 1, 1],
    "llama": [3, 1, 2, 1],
}


@EVERY
def test_sharing_finds_the_segments(architecture, tmp_path):
    network = networks.loaded(architecture, tmp_path)
    layer = network.module.get_submodule(stacks(network)[-1][-1])
    call = surgery.calls(network.module, [layer], networks.batches(1)[0])[0]
    groups = surgery.sharing(layer, lambda: call.run(layer))
    assert [len(g) for g in groups] == SHARING[architecture]
    assert sorted(n for g in groups for n in g) == sorted(surgery.linears(layer))
    assert len(groups) == len(network.segments(network.model.layers - 1))


def test_rows_leave_padding_out():
    x = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert surgery.rows(x, {"attention_mask": mask})[:, 0].tolist() == [0, 2, 6]
    assert surgery.rows(x, {}).shape == (6, 2)
    assert surgery.rows(x[0], {}).shape == (3, 2)


def test_replace_and_names():
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert list(surgery.linears(module)) == ["0.0", "1"]
    new = nn.Linear(2, 2)
    surgery.replace(module, "0.0", new)
    assert module[0][0] is new and surgery.linear(module, "0.0") is new
    surgery.replace(module, "1", nn.ReLU())
    assert list(surgery.linears(module)) == ["0.0"]
    assert surgery.full_name("", "a.b") == "a.b" and surgery.full_name("a", "") == "a"
    for name in ("1", "2", "0.x"):
        with pytest.raises(ConfigError, match=f"^{name}: the network has no linear layer of that"):
            surgery.linear(module, name)


def test_observed_sees_every_call_and_no_more():
    module, seen = nn.Sequential(nn.Linear(2, 3)), []
    with surgery.observed({"0": module[0]}, lambda *call: seen.append(call)):
        module(torch.ones(1, 2))
        module(torch.zeros(1, 2))
    module(torch.ones(1, 2))
    assert [name for name, _, _ in seen] == ["0", "0"]
    torch.testing.assert_close(seen[1][2][0], module[0].bias)


def test_joined_is_its_parts_side_by_side():
    parts = [nn.Linear(4, 2), nn.Linear(4, 3)]
    joined = surgery.Joined(copy.deepcopy(parts))
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(joined(x), torch.cat([p(x) for p in parts], -1))
    assert list(surgery.linears(joined)) == ["parts.0", "parts.1"]
