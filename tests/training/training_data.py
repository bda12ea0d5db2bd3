"""A folder of generated pictures that is enough to train on, and a configuration that reads it."""

import cv2
import numpy as np


def write_training_data(root):
    """Two cut-outs, two backgrounds, one photograph with a mask, one published-layout pair."""
    generator = np.random.default_rng(0)
    folders = ("cutouts", "backgrounds", "photos/images", "photos/masks", "pairs/fg", "pairs/alpha")
    for folder in folders:
        (root / folder).mkdir(parents=True)
    y, x = np.mgrid[:90, :100]
    for i in range(2):
        alpha = np.clip((30 + 5 * i - np.hypot(y - 45, x - 50)) / 8, 0, 1) * 255
        colour = generator.integers(0, 255, (90, 100, 3))
        rgba = np.dstack([colour, alpha]).astype(np.uint8)
        cv2.imwrite(str(root / "cutouts" / f"{i}.png"), rgba)
        cv2.imwrite(str(root / "backgrounds" / f"{i}.png"), generator.integers(0, 255, (80, 90, 3)))
    mask = (np.hypot(y - 45, x - 50) < 30) * 255
    cv2.imwrite(str(root / "photos/images/a.png"), generator.integers(0, 255, (90, 100, 3)))
    cv2.imwrite(str(root / "photos/masks/a.png"), mask)
    cv2.imwrite(str(root / "pairs/fg/b.png"), generator.integers(0, 255, (90, 100, 3)))
    cv2.imwrite(str(root / "pairs/alpha/b.png"), mask)


def config_text(data, folder, steps, task="prn"):
    return f"""
version = 1
task = "{task}"
[run]
folder = "{folder}"
steps = {steps}
batch = 2
workers = 0
threads = 1
log_every = 1
[data]
root = "{data}"
crop_px = 64
backgrounds = ["backgrounds"]
[[data.sources]]
kind = "rgba"
path = "cutouts"
share = 3.0
[[data.sources]]
kind = "photo_mask"
path = "photos"
[guidance]
trimap = 0.3
matte = 0.2
[optimiser]
warm_up = 0.2
"""
