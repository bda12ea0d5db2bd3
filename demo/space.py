"""Write a folder that can be pushed to a Hugging Face Space as it is.

    scripts/make-space FOLDER [--cpu] [--name USER/NAME] [--annotate]
    scripts/try-space FOLDER      # installs it into a new environment, starts it, asks it

The Space has the demo, the core with its weights, and the labelling tool; no tests, no training.
"""

import argparse
import shutil
import sys
from pathlib import Path

from demo.environment import Environment

ROOT = Path(__file__).parents[1]

_FOLDERS = ("demo", "mgm_core", "benchmark_data_tools")
_FILES = ("app.py", "LICENSE", "requirements.txt")
_LEFT_OUT = ("__pycache__", "*.pyc", "*.pyi")
# PyTorch's wheels with CUDA are 5 of an installation's 6.7 GB, and useless to a CPU Space.
_CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
# The newest that ZeroGPU lists, with Python 3.12:
# https://huggingface.co/docs/hub/spaces-zerogpu#supported-versions, read in August 2026.
ZEROGPU_VERSIONS = {"torch": "2.11.0", "torchvision": "0.26.0"}
# Only training and the tests need these.
_NOT_SERVED = ("tensorboard",)
# The Hub takes binary files through its large file storage alone.
_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.safetensors", "*.png", "*.jpg", "*.webp")
)
_THUMBNAIL = "demo/examples/pictures/flying-hair-result.jpg"
_BODY = """
# Mask guided matting

Cut people, animals and things out of photographs and short clips, hair and fur included, with a
rough mask as the only help. Drop a photo; correct the mask by brush where it is wrong.

The code is Apache-2.0. The bundled weights are for research use; their cards are on the page
under About, and in `mgm_core/weights`. Settings are environment variables, read by
`demo/environment.py`:

"""


def front_matter(readme: str) -> str:
    """Return the YAML at a README's top, its rulers included.

    Raises:
        ValueError: there is none.
    """
    if not readme.startswith("---\n") or "\n---\n" not in readme:
        raise ValueError(
            "README.md must begin with a Space's front matter between lines of ---, got "
            f"{readme[:20]!r}: add it"
        )
    return readme[: readme.index("\n---\n") + 5]


def with_settings(head: str, *, name: str | None, annotate: bool) -> str:
    """Return front matter with what depends on the Space.

    Args:
        head: Of the README, as `front_matter` returns it.
        name: The Space's, USER/NAME, which its thumbnail's address needs; None for no thumbnail.
        annotate: It has the labelling tool, whose users log in by the Hub.
    """
    more = ""
    if name is not None:
        more += f"thumbnail: https://huggingface.co/spaces/{name}/resolve/main/{_THUMBNAIL}\n"
    if annotate:
        more += "hf_oauth: true\n"
    return head.removesuffix("---\n") + more + "---\n"


def make_space(
    folder: Path,
    root: Path = ROOT,
    *,
    cpu: bool = False,
    name: str | None = None,
    annotate: bool = False,
) -> list[Path]:
    """Write the Space.

    Args:
        folder: is made; what an earlier run wrote there is replaced, a `.git` in it is kept.
        root: of the project.
        cpu: PyTorch comes from its own index of CPU wheels.
        name: USER/NAME that it is to have.
        annotate: It has the labelling tool; `MGM_ANNOTATE` turns that on.

    Returns:
        The files, relative to the folder.

    Raises:
        ValueError: the folder holds something else or the project, or lies within its code.
    """
    target, project = folder.resolve(), root.resolve()
    if project.is_relative_to(target) or any(
        target.is_relative_to(project / part) for part in _FOLDERS
    ):
        raise ValueError(
            f"folder must neither hold the project nor lie in its {', '.join(_FOLDERS)}, got "
            f"{folder}: choose another"
        )
    # Every Space has these attributes, and hardly anything else does.
    attributes = folder / ".gitattributes"
    if folder.exists():
        others = {path.name for path in folder.iterdir()} - {".git"}
        earlier = attributes.is_file() and attributes.read_bytes() == _ATTRIBUTES.encode()
        if others and not earlier:
            raise ValueError(
                f"folder must be new, empty or an earlier Space, got {folder} with "
                f"{min(others)} in it: choose another"
            )
        for other in others - {attributes.name}:
            path = folder / other
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    # First, so that a run that was interrupted can be repeated.
    attributes.write_text(_ATTRIBUTES, encoding="utf-8")
    for part in _FOLDERS:
        shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for part in _FILES:
        shutil.copy2(root / part, folder / part)
    # Weights are private to their owner on some machines; a Space's user is another.
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(folder).parts[:-1]:
            path.chmod(0o644)
    wanted = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    served = [line for line in wanted if line.partition("==")[0] not in _NOT_SERVED]
    if cpu:
        served.insert(0, _CPU_INDEX)
    else:
        pins = (line.split("==") for line in served)
        served = [f"{package}=={ZEROGPU_VERSIONS.get(package, pin)}" for package, pin in pins]
    (folder / "requirements.txt").write_text("\n".join(served) + "\n", encoding="utf-8")
    head = front_matter((root / "README.md").read_text(encoding="utf-8"))
    head = with_settings(head, name=name, annotate=annotate)
    (folder / "README.md").write_text(f"{head}{_BODY}{Environment.table()}\n", encoding="utf-8")
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != ".git"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 where it could not be done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu", action="store_true", help="PyTorch without CUDA, from its index")
    parser.add_argument("--name", metavar="USER/NAME", help="the Space's, for its thumbnail")
    parser.add_argument(
        "--annotate", action="store_true", help="with the labelling tool: users log in by the Hub"
    )
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    try:
        files = make_space(folder, cpu=options.cpu, name=options.name, annotate=options.annotate)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    size = sum((folder / path).stat().st_size for path in files)
    sys.stdout.write(f"{folder}: {len(files)} files, {size / 2**20:.1f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
