"""The masks that every tool must read and write pixel by pixel; NumPy alone, for every environment.

Names have spaces, brackets and letters beyond ASCII; files of other tools put them in sub-folders.
"""

import numpy as np

LABELS = ("hair", "fur")
SIZES = {"plain": (24, 16), "a portrait (1)": (17, 31), "Zoë, spät": (40, 9)}  # width, height


def masks():
    """Return label -> name -> (H, W) bool, none of them empty: CVAT has no empty masks."""
    draw = np.random.default_rng(29)
    found = {label: {} for label in LABELS}
    for label in LABELS:
        for name, (width, height) in SIZES.items():
            mask = draw.random((height, width)) > 0.6
            mask[:, -2:] = True  # up to the border, in runs longer than eight
            mask[: height // 3, : width // 2] = False
            found[label][name] = mask
    found["fur"]["plain"][:] = True
    found["hair"]["Zoë, spät"][:] = False
    found["hair"]["Zoë, spät"][4, 7] = True
    return found


def polygons():
    """Return name -> corners, (N, 2) x and y in pixels: one along pixels, others across them."""
    draw = np.random.default_rng(30)
    found = {"plain": np.array([[3, 4], [9, 4], [9, 10], [3, 10]], float)}
    for name in list(SIZES)[1:]:
        corners = draw.random((7, 2)) * SIZES[name]
        angles = np.arctan2(*(corners - corners.mean(0)).T)
        found[name] = np.round(corners[np.argsort(angles)], 2)
    return found
