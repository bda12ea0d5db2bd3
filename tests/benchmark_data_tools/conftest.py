import pytest
import torch
from safetensors.torch import save_file

from benchmark_data_tools.data import mini
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN


@pytest.fixture(scope="session")
def mini_benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark") / "mini"
    mini.make(folder)
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Method name of the network with random weights: what it answers is real, if not good."""
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(PRN("mobilenet_v2").state_dict(), path, {"encoder": "mobilenet_v2"})
    return f"weights:{path}"


@pytest.fixture(scope="session")
def untrained_foreground(tmp_path_factory):
    """Weights of the foreground network, random where training starts from zero."""
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ForegroundNetwork()
        torch.nn.init.normal_(network.head.weight, 0, 0.05)
        metadata = {"encoder": "mobilenet_v2", "network": "foreground"}
        save_file(network.state_dict(), path, metadata)
    return path
