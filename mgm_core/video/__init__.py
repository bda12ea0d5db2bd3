"""Clips: `python -m mgm_core.video`."""

try:
    import av  # noqa: F401 - whether it is there, before anything else needs it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the package av must be installed to read and write clips: pip install 'mgm[video]'",
        name="av",
    ) from error
