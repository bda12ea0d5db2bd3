"""Write the demo that runs in the visitor's browser: one folder for any static host.

    make browser                                  # FOLDER=build/browser
    python -m demo.static_page FOLDER
    python -m http.server --directory FOLDER      # then http://localhost:8000

The page cuts people out by ONNX Runtime Web and the matting network alone; photos stay on the
visitor's device. The runtime comes from the npm registry, by npm, at the version and hash below.
"""

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from mgm_core.export import exportables, write_onnx
from mgm_core.weights import CheckpointError

PAGE = Path(__file__).parent / "browser"
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)


class StaticPageError(RuntimeError):
    """The page cannot be written; the message says what to do."""


def write_static_page(folder: Path) -> list[Path]:
    """Write the page, its networks and its runtime.

    Args:
        folder: Is made; files of the same names are replaced.

    Returns:
        The files, relative to the folder.

    Raises:
        CheckpointError: Weights cannot be used.
        StaticPageError: The runtime cannot be had.
        ModuleNotFoundError: The packages that write ONNX are not installed.
    """
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "ort").mkdir(exist_ok=True)
    _write_runtime(folder / "ort")
    networks = exportables()
    for name in ("segmenter", "matting", "foreground"):
        write_onnx(networks[name], folder / "models" / f"{name}.onnx")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _write_runtime(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise StaticPageError(
            f"npm must be installed, as {RUNTIME} comes from its registry, got none: install "
            "Node.js, or Debian's package npm"
        )
    with tempfile.TemporaryDirectory() as name:
        packed = subprocess.run(
            [npm, "pack", "--silent", "--prefer-offline", "--pack-destination", name, RUNTIME],
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(Path(name).glob("*.tgz"))
        if packed.returncode or not archives:
            raise StaticPageError(
                f"{RUNTIME} must be downloaded from the npm registry, which failed "
                f"({packed.stderr.strip()[-200:]}): connect to the network"
            )
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        if digest != RUNTIME_SHA512:
            raise StaticPageError(
                f"{RUNTIME} must have SHA-512 {RUNTIME_SHA512}, got {digest}: the registry or "
                "the way to it cannot be trusted"
            )
        with tarfile.open(archives[0]) as archive:
            for file in (*(f"dist/{f}" for f in RUNTIME_FILES), "README.md", "package.json"):
                member = archive.extractfile(f"package/{file}")
                assert member is not None, file
                (folder / Path(file).name).write_bytes(member.read())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 where it could not be done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    try:
        files = write_static_page(folder)
    except (CheckpointError, StaticPageError, ModuleNotFoundError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    size = sum((folder / path).stat().st_size for path in files)
    sys.stdout.write(f"{folder}: {len(files)} files, {size / 2**20:.1f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
