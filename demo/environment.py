"""The demo's settings, each an environment variable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from mgm_core.recipe import Quality


def _setting(
    default: object,
    variable: str,
    meaning: str,
    low: float = 0.0,
    high: float = float("inf"),
    choices: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - dataclasses.field promises the same, so that any type may be assigned
    return field(
        default=default,
        metadata={
            "variable": variable,
            "meaning": meaning,
            "low": low,
            "high": high,
            "choices": choices,
        },
    )


@dataclass(frozen=True)
class Environment:
    """What an operator may set; `from_variables` reads it, `table` documents it."""

    port: int = _setting(7860, "PORT", "port that the page is served on", 1, 65535)
    weights: str = _setting(
        "prn_mobilenet_v2", "MGM_WEIGHTS", "bundled matting weights, or the path of others"
    )
    device: str = _setting("auto", "MGM_DEVICE", "auto, cpu, cuda or mps")
    quality: Quality = _setting(  # noqa: RUF009 - a field
        "best",
        "MGM_QUALITY",
        "what photos are cut out with unless the visitor chooses: fast or best",
        choices=get_args(Quality),
    )
    max_megapixels: float = _setting(
        24.0, "MGM_MAX_MEGAPIXELS", "largest photo that is accepted", 0.01, 89
    )
    max_file_megabytes: int = _setting(
        50, "MGM_MAX_FILE_MEGABYTES", "largest file that is accepted", 1
    )
    memory_megabytes: int = _setting(
        1500, "MGM_MEMORY_MEGABYTES", "memory for intermediate results, shared by all visitors", 1
    )
    keep_minutes: int = _setting(
        30, "MGM_KEEP_MINUTES", "how long pictures and results are kept after their last use", 1
    )
    queue_size: int = _setting(
        24, "MGM_QUEUE_SIZE", "how many requests may wait before others are turned away", 1
    )
    address_share: int = _setting(
        12, "MGM_ADDRESS_SHARE", "how many requests one address may have under way", 1
    )
    page_share: int = _setting(
        6, "MGM_PAGE_SHARE", "how many requests one open page may have under way", 1
    )
    upload_megabytes: int = _setting(
        4000, "MGM_UPLOAD_MEGABYTES", "what one address may upload while pictures are kept", 1
    )
    request_seconds: float = _setting(
        600.0,
        "MGM_REQUEST_SECONDS",
        "how long each step of one photo, as its matte or its colours, may take",
        1,
    )
    stop_seconds: float = _setting(
        20.0, "MGM_STOP_SECONDS", "how long running requests may take once the server is to stop", 0
    )
    proxies: str = _setting(
        "",
        "MGM_PROXIES",
        "addresses or networks of proxies whose X-Forwarded-For tells visitors apart; where it is "
        "empty, no proxy is believed",
    )
    metrics: int = _setting(
        0, "MGM_METRICS", "1: serve figures for Prometheus under /metrics; needs mgm[metrics]", 0, 1
    )
    sessions: int = _setting(200, "MGM_SESSIONS", "how many open pages are remembered", 1)
    batch_photos: int = _setting(
        100, "MGM_BATCH_PHOTOS", "how many photos may be cut out in one go", 1
    )
    clip_seconds: float = _setting(30.0, "MGM_CLIP_SECONDS", "longest clip that is accepted", 0.1)
    clip_frames: int = _setting(900, "MGM_CLIP_FRAMES", "most frames that a clip may have", 1)
    clip_megapixels: float = _setting(
        9.0, "MGM_CLIP_MEGAPIXELS", "largest frame that is accepted", 0.01, 36
    )
    mcp: int = _setting(0, "MGM_MCP", "1: also serve the endpoints as MCP tools", 0, 1)
    annotate: str = _setting(
        "", "MGM_ANNOTATE", "folder of a dataset to label in the tab Annotate; none: no such tab"
    )
    annotate_hub: str = _setting(
        "", "MGM_ANNOTATE_HUB", "Hub dataset USER/NAME that keeps the labelling of a Space"
    )

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "Environment":
        """Read the settings; what is not among the variables keeps its default.

        Args:
            variables: such as `os.environ`.

        Raises:
            ValueError: a value is no number where one is needed, out of range, or no choice.
        """
        values = {}
        for setting in fields(cls):
            about = setting.metadata
            text = variables.get(about["variable"], "").strip()
            if not text:
                continue
            kind: Callable[[str], Any] = type(setting.default)
            try:
                value = kind(text)
            except ValueError:
                number = "a whole number" if kind is int else "a number"
                raise ValueError(
                    f"{about['variable']} must be {number}, got {text!r}: "
                    f"it sets {about['meaning']}, by default {setting.default}"
                ) from None
            if about["choices"] and value not in about["choices"]:
                raise ValueError(
                    f"{about['variable']} must be {' or '.join(about['choices'])}, got {text!r}: "
                    f"by default it is {setting.default}"
                )
            if not isinstance(value, str) and not about["low"] <= value <= about["high"]:
                raise ValueError(
                    f"{about['variable']} must lie between {about['low']:g} and "
                    f"{about['high']:g}, got {text}: by default it is {setting.default}"
                )
            values[setting.name] = value
        return cls(**values)

    @classmethod
    def table(cls) -> str:
        """Return the settings as a Markdown table."""
        rows = [
            f"| `{f.metadata['variable']}` | {f.default} | {f.metadata['meaning']} |"
            for f in fields(cls)
        ]
        return "\n".join(["| variable | default | meaning |", "| -- | -- | -- |", *rows])
