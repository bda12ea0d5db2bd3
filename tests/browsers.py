"""The browser of all tests of pages."""

import shutil

# What Playwright switches off, as another such switch replaces its own, and the windows below the
# address bar: beside each page they would take half a second of a core.
_WITHOUT = (
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
)


def launch(playwright, *flags):
    """Open Chromium, or Chrome, without a window; `playwright` is that of `sync_playwright`."""
    return playwright.chromium.launch(
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
        args=[f"--disable-features={','.join(_WITHOUT)}", *flags],
    )
