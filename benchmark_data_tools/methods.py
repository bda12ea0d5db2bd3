"""The methods that a benchmark compares, by the names they have on the command line.

| name | what it is |
|---|---|
| `prn_mobilenet_v2`, or other bundled weights | this project's network |
| `weights:PATH` | this project's network with other weights |
| `refined:NAME`, `refined:weights:PATH` | either, and its alpha refined, as `--quality best` does |
| `half:NAME`, `half:weights:PATH` | either, refined at half the size, as `--quality fast` does |
| `closed_form` `knn` `learning_based` `large_kernel` `random_walk` `shared_sampling` | PyMatting |
| `folder:PATH` | predictions of any other method, one picture an image |
| `guidance` | the guidance itself, taken as the matte: what is there to be gained |
| `truth` | the true matte; for table 3, where colours alone are to be judged |

For table 3 a method is `ALPHA+FOREGROUND` with `multilevel`, `closed_form`, `raw`, `network` (this
project's, with bundled weights) or `network:PATH`; it may be left out (see FOREGROUNDS).
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard, cast, get_args

import numpy as np

from benchmark_data_tools.data.layouts import file_of, files_by_name
from benchmark_data_tools.data.samples import read_colours, read_grey, read_prediction
from benchmark_data_tools.protocols import Case
from mgm_core.arrays import Floats
from mgm_core.choices import Refinement
from mgm_core.foreground.estimate import (
    ForegroundEstimator,
    ForegroundMethod,
    current_method,
    estimate_foreground,
)
from mgm_core.foreground.learned import NetworkEstimator
from mgm_core.guidance import from_trimap
from mgm_core.matting.matter import Matter
from mgm_core.networks.checkpoint import (
    FOREGROUND_WEIGHTS,
    FUSION_WEIGHTS,
    MASK_FUSION_WEIGHTS,
    weights_files,
    weights_path,
)
from mgm_core.networks.prn import EncoderName
from mgm_core.runtime.renamed import METHODS, report_renamed
from mgm_core.weights import bundled, bundled_path, sha256_of

PYMATTING = {
    "closed_form": "estimate_alpha_cf",
    "knn": "estimate_alpha_knn",
    "learning_based": "estimate_alpha_lbdm",
    "large_kernel": "estimate_alpha_lkm",
    "random_walk": "estimate_alpha_rw",
    "shared_sampling": "estimate_alpha_sm",
}
# A matte with a smaller share of its pixels above 0 may have as few levels as a map of labels.
_ALMOST_EMPTY = 0.01
# Of the classical methods only closed-form matting brings its own colours.
CLOSED_FORM = "closed_form"
FOREGROUNDS = {CLOSED_FORM: CLOSED_FORM}
DEFAULT_FOREGROUND = "multilevel"

REFINED: Mapping[str, Refinement] = {"refined:": "full", "half:": "half"}


class AlphaMethod(Protocol):
    """Answers a case with a matte."""

    def __call__(self, case: Case, name: str, variant: str) -> Floats:
        """Predict.

        Args:
            case: The question.
            name: The image's name.
            variant: The guidance's name.

        Returns:
            Matte, (H, W) float32 in [0, 1].
        """
        ...


@dataclass(frozen=True)
class MethodSpec:
    """A method as the command line names it.

    Args:
        alpha: What makes the matte.
        foreground: What makes the colours (table 3).
        refiner: What refines the matte (table 2).
    """

    alpha: str
    foreground: str | None = None
    refiner: str | None = None

    @property
    def label(self) -> str:
        """The name to print."""
        parts = [self.alpha]
        if self.foreground is not None:
            parts.append(self.foreground)
        if self.refiner is not None:
            parts.append(f"refined by {self.refiner}")
        return " + ".join(parts)

    @property
    def slug(self) -> str:
        """The name as a folder's, distinct for distinct methods."""
        readable = "".join(c if c.isalnum() or c in "_-" else "-" for c in self.label)
        return f"{readable[-60:].strip('-')}-{hashlib.sha256(self.label.encode()).hexdigest()[:6]}"

    @property
    def takes_trimap(self) -> bool:
        """Whether the method needs a trimap, so that only a table's trimap variant suits it."""
        return self.alpha in PYMATTING

    @property
    def folder(self) -> Path | None:
        """The folder of predictions, for `folder:PATH`."""
        kind, _, path = self.alpha.partition(":")
        return Path(path) if kind == "folder" else None

    def variants(self, known: list[str], trimap_variant: str | None) -> list[str]:
        """The variants of a table that the method can answer.

        Args:
            known: The table's variants.
            trimap_variant: The one whose input is a trimap; None where there is none.

        Returns:
            Names out of `known`.

        Raises:
            ValueError: If there are none.
        """
        if self.folder is not None:
            subfolders = [variant for variant in known if (self.folder / variant).is_dir()]
            if not subfolders and trimap_variant is None:
                raise ValueError(
                    f"{self.alpha} must hold a folder a variant ({', '.join(known)}), got none: "
                    "sort the predictions by the guidance they were made with"
                )
            return subfolders or known[:1]
        if not self.takes_trimap:
            return known
        if trimap_variant is None:
            raise ValueError(
                f"method must take a mask in this table, got {self.alpha}, which takes a trimap: "
                "leave it out"
            )
        return [trimap_variant]


def parse(text: str, table: str) -> MethodSpec:
    """Read a method's name.

    Args:
        text: See the module's table.
        table: Key of LAYOUTS.

    Returns:
        The method.

    Raises:
        ValueError: If there is no such method.
    """
    for old, new in METHODS.items():
        if text.startswith(old):
            report_renamed(text, text.replace(old, new, 1))
            text = text.replace(old, new, 1)
    alpha, foreground = _parts(text)
    if foreground is None:
        foreground = FOREGROUNDS.get(text, DEFAULT_FOREGROUND)
    elif table != "3":
        raise ValueError(
            f"method must not name a foreground method outside table 3, got {text}: write {alpha}"
        )
    network = _network_and_refinement(alpha)[0]
    for part in (network, foreground):
        kind, colon, path = part.partition(":")
        named = colon and kind in ("weights", "folder", "network")
        if named and not (path and Path(path).exists()):
            raise ValueError(f"method must name what exists, got {part}: check the path")
    ours = _matting_networks()
    known = [*ours, *PYMATTING, "guidance", "truth"]
    if network != alpha:
        if not network.startswith("weights:") and network not in ours:
            raise ValueError(
                f"method must name a matting network after {' or '.join(REFINED)}, one of "
                f"{', '.join(ours)} or weights:PATH, got {alpha}: correct its name"
            )
    elif alpha.partition(":")[0] not in ("weights", "folder") and alpha not in known:
        raise ValueError(
            f"method must be one of {', '.join(known)}, "
            f"weights:PATH, folder:PATH or refined:NETWORK, got {alpha}: correct its name"
        )
    return MethodSpec(alpha, foreground if table == "3" else None)


def parse_refiner(text: str) -> str:
    """Read the name of what refines other methods' mattes (table 2).

    Args:
        text: A matting network, as `parse` reads it.

    Returns:
        Its name, as a `MethodSpec` has it.

    Raises:
        ValueError: If there is no such network, or the method looks at no matte.
    """
    name = parse(text, "2").alpha
    network = _network_and_refinement(name)[0]
    if not network.startswith("weights:") and network not in _matting_networks():
        raise ValueError(
            f"refiner must be a matting network, {', '.join(_matting_networks())} or "
            f"weights:PATH, got {text}, which looks at no matte: name its weights"
        )
    return name


def _parts(text: str) -> tuple[str, str | None]:
    """Split `ALPHA+FOREGROUND`; both may hold paths, and these a plus."""
    alpha, marker, path = text.partition("+network:")
    if marker:
        return alpha, f"network:{path}"
    alpha, plus, foreground = text.rpartition("+")
    if plus and foreground != CLOSED_FORM:
        foreground = current_method(foreground)
    known = plus and foreground in (CLOSED_FORM, *get_args(ForegroundMethod))
    return (alpha, foreground) if known else (text, None)


def _network_and_refinement(name: str) -> tuple[str, Refinement]:
    """Split `refined:NETWORK`."""
    for prefix, refinement in REFINED.items():
        if name.startswith(prefix):
            return name.removeprefix(prefix), refinement
    return name, "off"


def _matting_networks() -> list[str]:
    encoders = get_args(EncoderName)
    return [n for n, found in bundled().items() if found.architecture.split("/")[0] in encoders]


def identity(spec: MethodSpec) -> dict[str, str]:
    """What must stay the same for results to be of one method: content, not names."""
    found = {"method": spec.label}
    for role, name in (("alpha", spec.alpha), ("refiner", spec.refiner)):
        if name is None or name in ("guidance", "truth"):
            continue
        name, refinement = _network_and_refinement(name)
        if refinement != "off":
            for weights in (FUSION_WEIGHTS, MASK_FUSION_WEIGHTS):
                found[f"{role}_{weights}_sha256"] = _sha256_of_weights(bundled_path(weights))
        kind, _, path = name.partition(":")
        if kind == "folder":
            found[f"{role}_sha256"] = _sha256_of_folder(Path(path))
        elif name in PYMATTING:
            found[f"{role}_pymatting"] = importlib.metadata.version("pymatting")
        else:
            file = Path(path) if kind == "weights" else bundled_path(name)
            found[f"{role}_sha256"] = _sha256_of_weights(file)
    if spec.folder is None and _is_network(spec.foreground):
        file = weights_path(_foreground_weights(spec.foreground))
        found["foreground_sha256"] = _sha256_of_weights(file)
    return found


@functools.lru_cache(maxsize=2)
def alpha_method(name: str) -> AlphaMethod:
    """Load what makes a matte, by a `MethodSpec`'s `alpha` or `refiner`."""
    network, refinement = _network_and_refinement(name)
    kind, _, path = network.partition(":")
    if kind == "folder":
        return _FromFolder(Path(path))
    if name in PYMATTING:
        return _classical(name)
    if name == "guidance":
        return lambda case, name, variant: case.guidance
    if name == "truth":
        return lambda case, name, variant: case.pictures.alpha
    # float32 wherever it runs, so that figures of two machines compare.
    matter = Matter.load(Path(path) if kind == "weights" else network, dtype="float32")
    return _ours(matter, refine=refinement)


@functools.lru_cache(maxsize=2)
def foreground_method(name: str) -> ForegroundMethod | ForegroundEstimator:
    """Load what makes colours, by a `MethodSpec`'s `foreground`."""
    if _is_network(name):
        return NetworkEstimator.load(_foreground_weights(name), dtype="float32")
    if name == CLOSED_FORM:
        from pymatting import estimate_foreground_cf

        return cast(ForegroundEstimator, estimate_foreground_cf)
    return cast(ForegroundMethod, name)


def _is_network(foreground: str | None) -> TypeGuard[str]:
    return foreground is not None and foreground.partition(":")[0] == "network"


def _foreground_weights(name: str) -> str | Path:
    path = name.partition(":")[2]
    return Path(path) if path else FOREGROUND_WEIGHTS


def predict_foreground(
    spec: MethodSpec, case: Case, name: str, variant: str, alpha: Floats
) -> Floats:
    """Predict the foreground's colours (table 3).

    Args:
        spec: The method.
        case: The question.
        name: The image's name.
        variant: The guidance's name.
        alpha: The method's matte, (H, W) float32.

    Returns:
        F, (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: If a prediction is missing or wrong.
    """
    if spec.folder is not None:
        files = files_by_name(spec.folder / "foreground")
        return read_colours(
            file_of(name, files, spec.folder / "foreground", "prediction"), alpha.shape
        )
    assert spec.foreground is not None, "table 3's methods have a foreground method"
    method = foreground_method(spec.foreground)
    return estimate_foreground(case.pictures.image, alpha, method)


def check_folder(spec: MethodSpec, variants: list[str], names: list[str]) -> None:
    """Refuse a folder of predictions that lacks some, before anything runs.

    Args:
        spec: A method.
        variants: The variants it is to answer.
        names: The images.

    Raises:
        ValueError: If a prediction is missing.
    """
    if spec.folder is None:
        return
    folders = [_matte_folder(spec.folder, variant) for variant in variants]
    if spec.foreground is not None:
        folders.append(spec.folder / "foreground")
    for folder in folders:
        files = files_by_name(folder)
        for name in names:
            file_of(name, files, folder, "prediction")


def _ours(matter: Matter, *, refine: Refinement) -> AlphaMethod:
    def predict(case: Case, name: str, variant: str) -> Floats:
        known = from_trimap(case.trimap) if case.enforce and case.trimap is not None else None
        matte = matter.matte(case.pictures.image, case.guidance, known=known, refine=refine)
        return matte.alpha

    return predict


def _classical(name: str) -> AlphaMethod:
    import pymatting  # it starts a compiler: seconds that other methods need not wait

    estimate: Callable[..., Floats] = getattr(pymatting, PYMATTING[name])

    def predict(case: Case, name: str, variant: str) -> Floats:
        assert case.trimap is not None, "trimap methods run in trimap variants only"
        image = case.pictures.image.astype(np.float64)
        trimap = from_trimap(case.trimap).astype(np.float64)
        alpha = estimate(image, trimap)
        return np.asarray(alpha, np.float32)

    return predict


@dataclass(frozen=True)
class _FromFolder:
    folder: Path

    def __call__(self, case: Case, name: str, variant: str) -> Floats:
        folder = _matte_folder(self.folder, variant)
        path = file_of(name, files_by_name(folder), folder, "prediction")
        size = case.pictures.alpha.shape
        matte = read_prediction(path, size)
        if np.count_nonzero(matte) < _ALMOST_EMPTY * matte.size:
            return matte
        return read_grey(path, size)  # which refuses maps of labels


def _matte_folder(folder: Path, variant: str) -> Path:
    """Where mattes lie: in a subfolder of the variant, in `alpha` (table 3), or directly."""
    for subfolder in (variant, "alpha"):
        if (folder / subfolder).is_dir():
            return folder / subfolder
    return folder


def _sha256_of_weights(path: Path) -> str:
    """The hashes of all parts of weights."""
    return " ".join(map(sha256_of, weights_files(path)))


def _sha256_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
