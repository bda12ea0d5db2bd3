"""Cut-outs of animals that nothing is trained on: they tell how many holes fur gets."""

__all__ = ["HELD_OUT_ANIMALS"]

# Of `cutouts/people`: half of them white or with a light muzzle, five of the grade "fine"; with
# what a segmenter of the classes of PASCAL VOC may take them for.
HELD_OUT_ANIMALS = {
    "08123111b5": ("dog",),
    "2f176b2f31": ("cat", "dog", "sheep"),  # a rabbit
    "3bd78e9329": ("cat",),
    "3e923331ba": ("dog",),
    "41b4f4317b": ("cat",),
    "496e287aa0": ("cat",),
    "55b738cc31": ("dog",),
    "5ebf7ff9ff": ("dog",),
    "72be8946cf": ("dog",),
    "77acffc77e": ("cat",),
    "7a6f95a2eb": ("dog",),
    "8a52d4eba8": ("dog",),
    "a2953b26ae": ("bird",),
    "beee9b1f22": ("cat", "dog"),
    "c7ab54001d": ("dog",),
    "c8a3d08b54": ("cat",),
    "cc06ca380e": ("cat", "dog", "sheep"),  # a lion
    "d1a444d8d7": ("cat", "dog"),
    "e6dd191681": ("cat", "dog"),
    "f8bbb419f0": ("cat", "dog"),
}
