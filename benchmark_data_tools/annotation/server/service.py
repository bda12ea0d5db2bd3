"""What the server works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmark_data_tools.annotation.server.guard import LoginLimits
from benchmark_data_tools.annotation.server.proposals import Layers
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team.users import Users


@dataclass(frozen=True)
class Service:
    """What the server works with.

    Args:
        store: The opened dataset.
        layers: Layers and proposals.
        users: Who may log in.
        storage: Tells what people must know about where the work is kept; empty where it is safe.
        hugging_face: Whether people may log in with Hugging Face, under the names of the users
            file; needs a Space with `hf_oauth: true`.
        limits: How fast passwords may be tried.
    """

    store: Store
    layers: Layers
    users: Users
    storage: Callable[[], str] = lambda: ""
    hugging_face: bool = False
    limits: LoginLimits = field(default_factory=LoginLimits)
