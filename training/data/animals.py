"""Cut-outs of animals that nothing is trained on: they tell how many holes fur gets."""

__all__ = ["HELD_OUT_ANIMALS"]

# Of `cutouts/people`: half of them white or with a light muzzle, five of the grade "fine"; a rabbit
# and a lion among cats, dogs and a bird.
HELD_OUT_ANIMALS = frozenset(
    {
        "08123111b5",
        "2f176b2f31",
        "3bd78e9329",
        "3e923331ba",
        "41b4f4317b",
        "496e287aa0",
        "55b738cc31",
        "5ebf7ff9ff",
        "72be8946cf",
        "77acffc77e",
        "7a6f95a2eb",
        "8a52d4eba8",
        "a2953b26ae",
        "beee9b1f22",
        "c7ab54001d",
        "c8a3d08b54",
        "cc06ca380e",
        "d1a444d8d7",
        "e6dd191681",
        "f8bbb419f0",
    }
)
