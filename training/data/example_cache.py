"""Examples that take longer to make than to learn from: made once, cached, shown again rotated."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mgm_core.arrays import Bytes, Floats
from training.config import Config, ConfigError
from training.data.composites import Example

__all__ = ["ExampleCache"]

_LEVELS = np.iinfo(np.uint8).max


class ExampleCache:
    """`data.cached_examples` examples in 8 bits, in a file of the run's folder.

    All loading processes share it; a second file tells which are there already. Both are opened on
    first use.

    Args:
        config: Of the run.
        parts: How many planes each part of an example has, by name.
        settings: What they depend on; those of other settings are in other files.

    Raises:
        ConfigError: There are to be none.
    """

    def __init__(self, config: Config, parts: dict[str, int], settings: str) -> None:
        count, crop_px = config.data.cached_examples, config.data.crop_px
        if count < 1:
            raise ConfigError(
                f"data.cached_examples must be 1 or more, got {count}: 5000 are enough"
            )
        self._parts, self._seed = parts, config.run.seed
        self._folder = Path(config.run.folder)
        self._shape = count, sum(parts.values()), crop_px, crop_px
        self._name = hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()
        self._open: tuple[Bytes, Bytes] | None = None

    def augmented(self, index: int, make: Callable[[int], Floats]) -> Example:
        """Return what is shown as example `index`: each once, then each again, flipped and turned.

        Args:
            index: 0 or more, without end.
            make: Makes the example of a number below `data.cached_examples`: its planes, (P, S, S)
                in [0, 1].

        Returns:
            The parts, float32 in [0, 1].
        """
        count = self._shape[0]
        order = np.random.default_rng([self._seed, index // count, 6])
        number = int(order.permutation(count)[index % count])
        planes = self.example(number, make)
        generator = np.random.default_rng([self._seed, index, 7])
        planes = np.rot90(planes, int(generator.integers(4)), axes=(1, 2))
        if generator.random() < 0.5:
            planes = planes[:, :, ::-1]
        tensor = torch.from_numpy(planes.astype(np.float32) / _LEVELS)
        return dict(zip(self._parts, torch.split(tensor, list(self._parts.values())), strict=True))

    def example(self, number: int, make: Callable[[int], Floats]) -> Bytes:
        """Return an example as it is cached, made first where it was not there."""
        examples, present = self._files()
        if not present[number]:
            examples[number] = np.rint(make(number) * _LEVELS).clip(0, _LEVELS)
            present[number] = 1
        return np.array(examples[number])

    def _files(self) -> tuple[Bytes, Bytes]:
        if self._open is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = []
            for name, shape in (("examples", self._shape), ("present", self._shape[:1])):
                path = self._folder / f"{name}-{self._name}.raw"
                with path.open("ab") as file:
                    file.truncate(int(np.prod(shape)))  # zeros, where it was shorter
                files.append(np.memmap(path, np.uint8, "r+", shape=shape))
            self._open = files[0], files[1]
        return self._open
