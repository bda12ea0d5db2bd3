"""Names of pictures that are held out: used for development, never trained on.

Where a set is divided at random, `sources.is_held_out` decides by the name. The sets listed here
were divided by eye, so that no near twin of a held-out picture is trained on.
"""

__all__ = ["CC0_PORTRAITS", "HARD_PEOPLE", "HELD_OUT_ANIMALS", "LISTS", "names_in"]


def names_in(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


HARD_PEOPLE = names_in(
    """
    018dee6ce9 03f6b97da5 091bf745c8 0ba820a10b 10421bcdd0 12a498e86b 16dcbaf1c0 1bf796c7c1
    219d5014cd 25128e93b8 273cdf59d5 2aa12135e8 2f35565aa8 31e0f62a72 39b4b6adf9 3dddb38716
    3fb308055f 424af3bfcd 441bde494a 4a09155a06 4fab2b3d1d 551a496899 58570d66cd 5fbca58e73
    645ef8aa7f 68a9882032 6f9644cfcb 71753d2786 765d8ba038 793bec00e1 7d632cb405 80cf2de0ff
    8375fb6550 8bab739c09 8fa3d801e1 9185f0d722 93f00162de 95166a0dec 99a537034a 9fe2fe78ef
    a62381d02a aa24a5b9a6 ae6716f72a b2d4af9012 b712242fb0 ba9abd712b bff512a328 c3ecf29a43
    cbcaf92f85 d085ebe4de d414f5a543 d989906fe9 dd226bbb64 e565f11b24 e8f7fb6206 ec991e27dd
    ef2a37a4df f207e6df26 f40b7588a7 f733f0eb12
    """
)
"""60 cut-outs of people (`cutouts/people`) that the segmenter's hard test is composed of."""

CC0_PORTRAITS = names_in(
    """
    008 012 015 018 022 025 028 032 035 038 045 048 052 055 062 065 068 072 078 082 085 088 092 095
    """
)
"""24 of the 70 CC0 portraits; the other 46, the demo's examples among them, may be trained on."""

HELD_OUT_ANIMALS = names_in(
    """
    08123111b5 2f176b2f31 3bd78e9329 3e923331ba 41b4f4317b 496e287aa0 55b738cc31 5ebf7ff9ff
    72be8946cf 77acffc77e 7a6f95a2eb 8a52d4eba8 a2953b26ae beee9b1f22 c7ab54001d c8a3d08b54
    cc06ca380e d1a444d8d7 e6dd191681 f8bbb419f0
    """
)
"""20 cut-outs of animals (`cutouts/people`), which tell how many holes fur gets.

Half of them are white or have a light muzzle, and five are of the grade "fine"; there are a rabbit
and a lion among cats, dogs and a bird.
"""

LISTS: dict[str, frozenset[str]] = {
    "": frozenset(),
    "cutouts": HARD_PEOPLE,
    "portraits_cc0": CC0_PORTRAITS,
}
"""By the names that a configuration's `keep_out` gives them."""
