"""Who works on a dataset, and what their role allows."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class User:
    """Somebody who works on the dataset.

    Args:
        name: Unique.
        role: What they may do.
        alone: Whether no users are configured, and one person does everything.
    """

    name: str
    role: Role
    alone: bool = False

    @property
    def reviews(self) -> bool:
        """Whether they may review."""
        return self.role in ("reviewer", "admin")

    @property
    def reviews_only(self) -> bool:
        """Whether opening an entry is no wish to label it."""
        return self.role == "reviewer"


ALONE = User("local", "admin", alone=True)


def program(name: str) -> User:
    """Return the author of what a command does: the dataset's owner started it."""
    return User(name, "admin", alone=True)
