"""A portrait to grow hair on: a head with striped hair on shoulders."""

import cv2
import numpy as np

HEIGHT, WIDTH = 320, 240


def portrait():
    """Return image and mask of a head, red and green only, before pure blue."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    image[..., 2] = 1
    cv2.ellipse(image, (120, 330), (105, 110), 0, 0, 360, (0.1, 0.6, 0), -1)
    cv2.rectangle(image, (80, 180), (160, 250), (0.9, 0.7, 0), -1)
    cv2.ellipse(image, (120, 140), (75, 90), 0, 0, 360, (0.3, 0.15, 0), -1)
    stripes = 0.1 * np.sin(np.arange(WIDTH) * 1.2)[None, :]
    hair = image[..., 0] == np.float32(0.3)
    image[..., :2] += (hair * stripes)[..., None].astype(np.float32)
    cv2.ellipse(image, (120, 170), (50, 60), 0, 0, 360, (0.9, 0.7, 0), -1)
    subject = image[..., 2] == 0
    return image, subject.astype(np.float32)
