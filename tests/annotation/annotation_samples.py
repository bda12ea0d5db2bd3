from pathlib import Path

import numpy as np

from benchmark_data_tools.annotation.store import Store
from mgm_core.images import write_image


def make_dataset(folder: Path, sizes=((40, 30), (33, 47), (64, 48))) -> Path:
    random = np.random.default_rng(0)
    (folder / "image").mkdir(parents=True)
    (folder / "alpha").mkdir()
    for n, (width, height) in enumerate(sizes):
        image = random.random((height, width, 3)).astype(np.float32)
        write_image(folder / "image" / f"portrait_{n}.png", image)
        ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
        write_image(folder / "alpha" / f"portrait_{n}.png", ramp)
    return folder


def mask_of(store: Store, entry_id: int, seed: int = 0) -> np.ndarray:
    image = store.image(entry_id)
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (image.height, image.width), dtype=np.uint8)
