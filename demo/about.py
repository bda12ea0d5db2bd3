"""What a visitor may want to know: weights and their cards, licences, limits, versions."""

from importlib import resources
from importlib.metadata import version

_TEXT = """\
## What this is
An open implementation of *Mask Guided Matting via Progressive Refinement Network* (CVPR 2021),
written anew from the paper. A rough mask says where the subject is. The network then finds alpha,
how opaque every pixel is, on three levels: each finer one is used only where the coarser one was
uncertain. What stays unknown after that is solved for once more from the photo's colours.

## Limits
- Hair, fur and out-of-focus edges are what it is made for. Glass, smoke and water are not.
- Without a mask of yours, it cuts out only what the segmenter finds. Correct that by hand, or
  bring a mask.
- What the guidance leaves out by far more than 30 px may be missing from the result, too.
- A clip is cut out frame by frame. What was decided about one frame steadies the next; a person
  who turns away or is covered may still be lost for some frames.

## Your pictures
They stay on this server while you work on them, and are deleted some {minutes} minutes after their
last use. No other visitor is shown them, and nothing is learned from them. Your browser keeps the
last photo, its mask, its background picture and its settings, and offers for a day to go on with
them. "Forget it" deletes them at once; else they go when the page is next opened after that day.

## Licences
- Code: Apache-2.0.
- Bundled weights: research use only, or as their cards say, which are below.
- Example pictures: in the public domain or under CC0, see `demo/examples/pictures/LICENCES.md`.
- Clips are read and written by FFmpeg with x264 and x265, as PyAV brings them, HEIC by libheif with
  x265, as pillow-heif does (LGPL and GPL). They run beside this code and are no part of it.

## How to cite
```
@inproceedings{{yu2021mask,
  title={{Mask Guided Matting via Progressive Refinement Network}},
  author={{Yu, Qihang and Zhang, Jianming and Zhang, He and Wang, Yilin and Lin, Zhe and Xu, Ning
          and Bai, Yutong and Yuille, Alan}},
  booktitle={{CVPR}},
  year={{2021}}
}}
```

## Versions
{versions}

## Weights
{cards}
"""

_PACKAGES = (
    "torch",
    "torchvision",
    "gradio",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pymatting",
    "av",
)


def about(keep_minutes: int) -> str:
    """Return the page's text as Markdown."""
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return _TEXT.format(minutes=keep_minutes, versions=versions, cards=cards())


def cards() -> str:
    """Return the model cards of the bundled weights, each to be folded out."""
    folder = resources.files("mgm_core") / "weights"
    return "\n\n".join(
        _folded(entry.name.removesuffix(".md"), entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".md")
    )


def _folded(name: str, card: str) -> str:
    # The card's own title is the summary; its sections come below the page's.
    _, _, text = card.partition("\n")
    text = text.replace("\n## ", "\n#### ")
    return f"<details>\n<summary><code>{name}</code></summary>\n\n{text.strip()}\n\n</details>"
