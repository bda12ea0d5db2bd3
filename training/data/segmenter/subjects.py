"""Which cut-outs of `cutouts/people` show no people, and which backgrounds do, by name.

Several kinds of animals together, animals in clothes and what VOC has no class for are
"background": the segmenter's teacher decides what they are.
"""

from training.data.held_out import names_in

__all__ = ["NO_PEOPLE", "WITH_PEOPLE"]


_NAMES = {
    "background": """
        036717a7f8 05b8ebb16a 0f811f449a 128036559d 175a42c450 1ddd577253 21cec89dc7
        2f176b2f31 4b8610d4cd 5ca23bd3dc 6eba475d83 736b7bb655 7382bf335f 7a6f95a2eb
        832cf8ffe4 8ecf0aeb8f 946b808de2 9c9efb811a a917f29efe b411ab31d6 b5484b6f2c
        b6a2e47da2 beee9b1f22 c5ed1080d6 c9e82afa1c cc06ca380e ce79757cb9 d1a444d8d7
        e453428a76 e6dd191681 ea8a2fb466 edd84232b1 f7ed32452b f8bbb419f0
    """,
    "bird": """
        a2953b26ae fc00877e4d
    """,
    "cat": """
        0c4f36d71b 3bd78e9329 41b4f4317b 44881ed07a 496e287aa0 69868edf91 77acffc77e
        c8a3d08b54 e42d312bb7 f4c35c7ba3 fb9c5d1bde
    """,
    "dog": """
        00e1cb82ee 08123111b5 1b00e13681 3caf6544db 3e923331ba 484b65ea9a 5429cf203e
        55b738cc31 59344da0ad 5ebf7ff9ff 72be8946cf 852a2c016b 8a371ca087 8a52d4eba8
        9492b1f0f5 9d739f8d00 bcf8983987 c64d48f62d c7ab54001d f3eae2e064
    """,
    "potted plant": """
        e9aae82090
    """,
}
NO_PEOPLE = {name: category for category, names in _NAMES.items() for name in names.split()}
"""The category of each cut-out that shows no people."""

WITH_PEOPLE = names_in(
    """
    in_0183 in_0187 in_0189 in_0190 in_0192 in_0194 in_0201 in_0204 in_0215 in_0219 in_0221
    in_0222 in_0223 in_0234 in_0238 in_0242 in_0252 in_0270 in_0279 in_0309 in_0313 in_0316
    in_0317 in_0321 in_0325 in_0327 in_0329 in_0341 in_0350 in_0351 in_0364 in_0369 in_0372
    in_0377 in_0385 in_0386 in_0389 in_0390 in_0391 in_0393 in_0402 in_0404 in_0407 in_0408
    in_0415 in_0423 in_0427 in_0428 in_0435 in_0436 in_0439 in_0443 in_0455 in_0458 in_0463
    in_0469 in_0482 in_0487 in_0489 in_0511 in_0512 in_0514 in_0526 in_0530 in_0531 in_0532
    in_0542 in_0559 in_0563 in_0564 in_0566 in_0568 in_0572 in_0574 in_0575 in_0581 in_0582
    in_0588 in_0595 in_0597 in_0601 in_0606 in_0609 in_0617 in_0618 in_0630 in_0631 in_0635
    in_0636 in_0637 in_0641 in_0642 in_0646 in_0651 in_0655 in_0656 in_0658 in_0659 in_0669
    in_0674 in_0676 in_0683 in_0687 in_0690 in_0694 sx_0084 sx_0086 sx_0088 sx_0097 sx_0103
    sx_0107 sx_0116 wp_0736 wp_0758
    """
)
"""Photographs of `backgrounds` in which the segmenter's start finds people, however small."""
