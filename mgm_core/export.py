"""Write the networks as ONNX, for other runtimes: browsers, Node, phones, other languages.

    python -m mgm_core.export --onnx FOLDER

| file | inputs | output |
|---|---|---|
| `segmenter.onnx` | image (1, 3, H, W), sides 8n + 1 px | probabilities (1, 21, H, W) |
| `matting.onnx` | image (1, 3, H, W), guidance (1, 1, H, W), sides 32n px | alpha (1, 1, H, W) |
| `fusion.onnx` | image, guidance, candidates (1, 8, H, W), sides 16n px | alpha (1, 1, H, W) |
| `fusion_mask.onnx` | likewise, where a mask guides and no trimap | alpha (1, 1, H, W) |
| `foreground.onnx` | image (1, 3, H, W), alpha (1, 1, H, W), sides 32n px | colours (1, 3, H, W) |

Every array is float32 in [0, 1], colours are RGB. Normalisation, the refinement (Eqs. 2 and 3) and
clamping are part of the graphs, and sizes are free.
"""

import argparse
import sys
from pathlib import Path

from mgm_core.choices import DEFAULT_WEIGHTS
from mgm_core.engines.graphs import OPSET, Exportable, exportables, write_onnx
from mgm_core.weights import CheckpointError

__all__ = ["OPSET", "Exportable", "exportables", "write_onnx"]


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(
        prog="python -m mgm_core.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--onnx", type=Path, required=True, metavar="FOLDER", help="where they go")
    p.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, help="of the matting network: bundled name or path"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 where it could not be done."""
    options = parser().parse_args(arguments)
    try:
        options.onnx.mkdir(parents=True, exist_ok=True)
        given = Path(options.weights)
        for name, network in exportables(given if given.suffix else options.weights).items():
            path = options.onnx / f"{name}.onnx"
            write_onnx(network, path)
            sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}\n")
    except (CheckpointError, ModuleNotFoundError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
