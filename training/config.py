"""Configurations: frozen dataclasses read from TOML, with `key=value` corrections.

An unknown key or a value of the wrong type is an error that names the key, and the nearest key
that exists.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from mgm_core.runtime.renamed import DATA_KEYS, TASKS, rename_keys, report_renamed
from mgm_core.runtime.settings import Within, read_settings

VERSION = 1
Variant = Literal["prn", "baseline", "deep_supervision", "fusion_conv"]
Probability: TypeAlias = Annotated[float, Within(0, 1)]
Percent: TypeAlias = Annotated[int, Within(0, 100)]
Count: TypeAlias = Annotated[int, Within(1, 1_000_000_000)]
Share: TypeAlias = Annotated[float, Within(0, 1_000_000_000)]


class ConfigError(ValueError):
    """A configuration cannot be used; the message says which key and what to do."""


def _require_a_share(shares: Sequence[float], keys: str) -> None:
    if not any(shares):
        raise ConfigError(f"{keys} must have a share above 0, got {list(shares)}: give one")


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and what it starts from.

    Args:
        encoder: Encoder of the network.
        variant: The PRN or one of the ablations of Table 4.
        frozen_norm: Keep MobileNetV2's batch-norm statistics (`frozen_norm.py`).
        start: Weights (safetensors) of this network to go on from; empty for none.
        encoder_start: ImageNet weights for the encoder alone; empty for none.
        frozen_blocks: How many of the encoder's blocks, from the first, stay as they are (the
            segmenter alone).
        teacher: Weights of the network that says what no label says (the segmenter alone); empty
            for `start`.
        matting: Matting weights, a bundled name or a path, whose alpha is refined (the fusion
            network) or given in place of the true one (the foreground network).
    """

    encoder: Literal["resnet34", "mobilenet_v2"] = "mobilenet_v2"
    variant: Variant = "prn"
    frozen_norm: bool = True
    start: str = ""
    encoder_start: str = ""
    frozen_blocks: int = 0
    teacher: str = ""
    matting: str = "prn_mobilenet_v2"


@dataclass(frozen=True)
class SourceConfig:
    """One folder of foregrounds.

    Args:
        kind: "rgba", "fg_alpha" (folders `fg` and `alpha`), "shapes" (photographs, which give
            random shapes their colours), "hair" (folders `images` and `masks`: portraits that hair
            is grown on), "photo_mask" (folders `images` and `masks`: photographs that are shown
            as they are, supervised away from the outline), "photo_cutout" (folders `images` and
            `cutouts`: photographs as they are, supervised by the alpha of cut-outs that a teacher
            made of them), and for the segmenter alone
            "hair_mask" (folders `image` and `hair`: photographs of which only the hair is known)
            or "photograph" (one folder of photographs of which nothing is known).
        path: Folder, relative to `data.root`.
        share: How often it is drawn, in proportion to the other sources.
        leave_out: Text file of names to leave out, one a line, relative to `data.root`; empty for
            none.
        grade: Only pictures of this grade in the folder's SOURCES.tsv; empty for all.
        keep_out_percent: So many percent of the names, chosen by name, are kept for evaluation.
        keep_out_every: Every so many pictures, in the order of their names, one is kept likewise
            (hair_mask alone).
        keep_out: A list of `held_out.py` whose pictures are kept likewise; empty for none.
    """

    kind: Literal[
        "rgba",
        "fg_alpha",
        "shapes",
        "hair",
        "photo_mask",
        "photo_cutout",
        "hair_mask",
        "photograph",
    ]
    path: str
    share: Share = 1.0
    leave_out: str = ""
    grade: str = ""
    keep_out_percent: Percent = 0
    keep_out_every: int = 0
    keep_out: Literal["", "cutouts", "portraits_cc0"] = ""


@dataclass(frozen=True)
class DataConfig:
    """Foregrounds, backgrounds and their augmentation.

    Args:
        root: Folder that all other paths are relative to.
        sources: Folders of foregrounds.
        backgrounds: Folders of photographs.
        backgrounds_keep_out_percent: How many percent of the backgrounds, by their names, are
            kept for evaluation.
        crop_px: Side of the training crop.
        scales: Smallest and largest scale of a foreground.
        whole_probability: How often a crop shows a whole foreground.
        merge_probability: How often two foregrounds are merged.
        repaint_probability: How often a foreground takes a photograph's colours, so that nothing
            but colour and guidance tells what it is (our extension).
        distractor_probability: How often the background holds another cut-out, which is no part
            of the subject and which no guidance marks (our extension).
        backdrop_probability: How often the background is a plain gradient.
        camera: Re-JPEG, blur, noise and contrast (section 5).
        random_alpha_blending: For the foreground network: any photograph as foreground.
        own_colours_probability: How often Random Alpha Blending leaves a cut-out its own colours,
            which are known where alpha is above 0 alone (our extension).
        predicted_alpha_probability: How often such a cut-out comes with the alpha that
            `network.matting` predicts, as in use, in place of the true one (our extension).
        max_side_px: Larger foregrounds are reduced to this long side when read.
        licences: Table of licences, relative to `root`, that must free every file that is read
            (`licences.py`); empty for none.
        on_device: Compose and augment on the computing device, from a cache in its memory, instead
            of in the loading processes.
        batches_at_once: Of how many steps the batches are made together, since on a GPU many take
            hardly longer than one.
        made_up: How many cut-outs the cache holds of each source that makes them up (shapes, hair).
        made_up_first: How many of them a run waits for.
        made_up_each_step: How many are made anew each step.
        cached_examples: How many different examples there are, each made once, cached on the disk,
            and shown again flipped and rotated (the task fusion).
    """

    root: str
    sources: tuple[SourceConfig, ...]
    backgrounds: tuple[str, ...]
    backgrounds_keep_out_percent: Percent = 0
    crop_px: int = 512
    scales: tuple[float, float] = (0.6, 1.4)
    whole_probability: Probability = 0.2
    merge_probability: Probability = 0.5
    repaint_probability: Probability = 0.0
    distractor_probability: Probability = 0.0
    backdrop_probability: Probability = 0.1
    camera: bool = False
    random_alpha_blending: bool = True
    own_colours_probability: Probability = 0.0
    predicted_alpha_probability: Probability = 0.0
    max_side_px: int = 1000
    licences: str = ""
    on_device: bool = False
    batches_at_once: int = 4
    made_up: int = 1500
    made_up_first: int = 300
    made_up_each_step: int = 1
    cached_examples: int = 5000

    def __post_init__(self) -> None:
        """Refuse sources of which none is ever drawn."""
        _require_a_share([source.share for source in self.sources], "data.sources")


@dataclass(frozen=True)
class GuidanceConfig:
    """What is given as guidance; the paper trains on perturbed binary masks alone.

    Args:
        mask: Share of perturbed binary masks.
        trimap: Share of trimaps (our extension).
        matte: Share of soft mattes of low quality (our extension).
        cut_mask_probability: How often CutMask damages a binary mask.
        mask_kernels_px: Smallest and largest kernel that a binary mask is eroded and dilated by.
        mask_operations: How often, relative to each other, one is eroded, dilated, eroded and then
            dilated, dilated and then eroded.
        kernels_px: Range of the kernels that self-guidance is dilated by after stride 8 and 4.
    """

    mask: Share = 1.0
    trimap: Share = 0.0
    matte: Share = 0.0
    cut_mask_probability: Probability = 0.25
    mask_kernels_px: tuple[int, int] = (1, 30)
    mask_operations: tuple[Share, Share, Share, Share] = (1.0, 1.0, 1.0, 1.0)
    kernels_px: tuple[int, int] = (30, 15)

    def __post_init__(self) -> None:
        """Refuse shares of which none is above 0, and kernels that do not rise."""
        _require_a_share([self.mask, self.trimap, self.matte], "guidance.mask, trimap and matte")
        _require_a_share(self.mask_operations, "guidance.mask_operations")
        low, high = self.mask_kernels_px
        if not 1 <= low <= high:
            raise ConfigError(
                f"guidance.mask_kernels_px must rise from 1 px or more, got {[low, high]}: "
                "give the smaller first"
            )


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Args:
        level_weights: Weights of the levels at stride 8, 4 and 1 (Eq. 5).
        composition: Whether the composition loss counts.
        squared: Weight of the mean squared error beside l1, composition and Laplacian, whose
            weights are 1; the paper has none.
    """

    level_weights: tuple[float, float, float] = (1.0, 2.0, 3.0)
    composition: bool = True
    squared: float = 0.0


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam with warm-up and cosine decay (section 4).

    Args:
        learning_rate: Peak rate.
        encoder_rate_factor: The encoder learns at this fraction of it.
        betas: Adam's.
        weight_decay: Decoupled weight decay.
        warm_up: Fraction of the run in which the rate rises.
        true_guidance_until: Fraction of the run guided by the true unknown band.
        self_guidance_from: Fraction after which self-guidance alone is used; a coin decides
            between the two.
        ema: Decay of the moving average of the weights.
        clip_factor: Gradients longer than this multiple of their moving average are shortened.
    """

    learning_rate: float = 1e-3
    encoder_rate_factor: float = 1.0
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    warm_up: float = 0.05
    true_guidance_until: float = 0.05
    self_guidance_from: float = 0.15
    ema: float = 0.999
    clip_factor: float = 2.0


@dataclass(frozen=True)
class RunConfig:
    """How long, on what, and what is written.

    Args:
        folder: Where checkpoints and logs go.
        steps: Length of the whole run.
        minutes: Where above 0, the run ends after so many minutes of training by the clock if it
            has not come to its last step; rate and curriculum follow whichever is further.
        batch: Crops a step, over all processes.
        seed: Everything random depends on it and on the step alone.
        device: "auto" takes CUDA where there is one.
        dtype: "auto" takes bf16 where the processor is faster in it.
        threads: Threads for computing; 0 leaves it to torch.
        workers: Processes that load data.
        checkpoint_minutes: Minutes between checkpoints.
        log_every: Steps between log lines.
        panel_every: Steps between picture panels; 0 for none.
        validation: Folder with `image` and `alpha` to validate a matting network on, empty for
            none; relative to `data.root`.
        validate_every: Steps between validations.
    """

    folder: str
    steps: Count
    minutes: float = 0.0
    batch: Count = 8
    seed: int = 0
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 0
    workers: int = 1
    checkpoint_minutes: float = 5.0
    log_every: Count = 20
    panel_every: int = 500
    validation: str = ""
    validate_every: Count = 1000


@dataclass(frozen=True)
class Config:
    """A whole training run."""

    version: int
    task: Literal["prn", "foreground", "segmenter", "fusion"]
    run: RunConfig
    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


def load(path: Path, corrections: list[str]) -> Config:
    """Read a configuration and apply corrections such as `run.steps=100`.

    Raises:
        ConfigError: The file, a key or a value cannot be used.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"config must be a TOML file, got {str(path)!r}, which does not exist: "
            "see training/configs"
        ) from None
    except (ValueError, RecursionError) as error:  # no TOML, no text, or nested too deeply
        raise ConfigError(f"config must be valid TOML, got an error in {path}: {error}") from error
    for correction in corrections:
        _correct(table, correction)
    if (task := str(table.get("task"))) in TASKS:
        report_renamed(task, TASKS[task], "task")
        table["task"] = TASKS[task]
    if isinstance(table.get("data"), dict):
        table["data"] = rename_keys(table["data"], DATA_KEYS, "data")
    if table.get("version") != VERSION:
        raise ConfigError(
            f"version must be {VERSION}, got {table.get('version')!r}: the file is for another "
            "version of this program; compare it with training/configs"
        )
    try:
        return read_settings(Config, table)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _correct(table: dict[str, Any], correction: str) -> None:
    key, equals, text = correction.partition("=")
    if not equals:
        raise ConfigError(f"a correction must read key=value, got {correction!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # an unquoted string, as one types it in a shell
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key} must name a key in a table, but {parent!r} is a value")
    table[last] = value
