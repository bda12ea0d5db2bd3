"""The figures that the paper prints, for comparison with what a run measures.

Source: Yu et al., "Mask Guided Matting via Progressive Refinement Network", CVPR 2021, tables 1
to 5 and section 5. They are of the full benchmarks; a run on other images does not compare.
"""

Figures = dict[tuple[str, str], float]


def _four(sad: float, mse: float, grad: float, conn: float | None) -> Figures:
    figures = {("unknown", "sad"): sad, ("unknown", "mse"): mse * 1e-3, ("unknown", "grad"): grad}
    return figures if conn is None else figures | {("unknown", "conn"): conn}


def _two_regions(first: str, second: str, figures: tuple[float, float, float, float]) -> Figures:
    sad_first, mse_first, sad_second, mse_second = figures
    return {
        (first, "sad"): sad_first,
        (first, "mse"): mse_first * 1e-3,
        (second, "sad"): sad_second,
        (second, "mse"): mse_second * 1e-3,
    }


def _colours(sad: float, mse: float) -> Figures:
    return {("alpha_F_unknown", "sad"): sad, ("alpha_F_unknown", "mse"): mse * 1e-3}


PUBLISHED: dict[str, dict[str, Figures]] = {
    "1": {
        "Learning Based Matting": _four(113.9, 48, 91.6, 122.2),
        "Closed-Form Matting": _four(168.1, 91, 126.9, 167.9),
        "KNN Matting": _four(175.4, 103, 124.1, 176.4),
        "Deep Image Matting": _four(50.4, 14, 31.0, 50.8),
        "IndexNet Matting": _four(45.8, 13, 25.9, 43.7),
        "AdaMatting": _four(41.7, 10.2, 16.9, None),
        "Context-Aware Matting": _four(35.8, 8.2, 17.3, 33.2),
        "GCA Matting": _four(35.3, 9.1, 16.9, 32.5),
        "MG Matting, TrimapFG": _four(31.5, 6.8, 13.5, 27.3),
        "MG Matting, Trimap": _four(32.1, 7.0, 14.0, 27.9),
    },
    "2": {
        "Learning Based Matting (trained there)": _four(105.04, 21, 94.16, 110.41),
        "Closed-Form Matting (trained there)": _four(105.73, 23, 91.76, 114.55),
        "KNN Matting (trained there)": _four(116.68, 25, 103.15, 121.45),
        "Deep Image Matting (trained there)": _four(47.56, 9, 43.29, 55.90),
        "HAttMatting (trained there)": _four(48.98, 9, 41.57, 49.93),
        "Deep Image Matting": _four(48.73, 11.2, 42.60, 49.55),
        "Deep Image Matting + MG Matting": _four(36.58, 7.2, 27.37, 35.08),
        "IndexNet Matting": _four(46.95, 9.4, 40.56, 46.80),
        "IndexNet Matting + MG Matting": _four(35.82, 5.8, 25.75, 34.23),
        "Context-Aware Matting": _four(36.32, 7.1, 29.49, 35.43),
        "Context-Aware Matting + MG Matting": _four(35.04, 5.4, 24.55, 33.35),
        "GCA Matting": _four(39.64, 8.2, 32.16, 38.77),
        "GCA Matting + MG Matting": _four(35.93, 5.7, 25.94, 34.35),
    },
    "3": {
        "Global Matting": _colours(220.39, 36.29),
        "Closed-Form Matting": _colours(254.15, 40.89),
        "KNN Matting": _colours(281.92, 36.29),
        "Context-Aware Matting": _colours(61.72, 3.24),
        "MG Matting": _colours(49.80, 2.48),
        "MG Matting, F without RAB": {("F", "sad"): 82.30, ("F", "mse"): 0.00623},
        "MG Matting, F with RAB": {("F", "sad"): 62.01, ("F", "mse"): 0.00321},
    },
    "4": {
        "Baseline": _two_regions("whole", "unknown", (43.7, 4.5, 39.8, 11.2)),
        "Baseline + Deep Supervision": _two_regions("whole", "unknown", (37.8, 3.7, 36.3, 9.5)),
        "Baseline + Fusion Conv": _two_regions("whole", "unknown", (38.1, 3.2, 36.9, 8.8)),
        "PRN w/o CutMask": _two_regions("whole", "unknown", (33.9, 2.9, 32.8, 7.5)),
        "PRN": _two_regions("whole", "unknown", (32.3, 2.5, 32.1, 7.0)),
    },
    "5": {
        "Deep Image Matting": _two_regions("whole", "details", (28.5, 11.7, 19.1, 74.6)),
        "GCA Matting": _two_regions("whole", "details", (29.2, 12.7, 19.7, 82.3)),
        "IndexNet Matting": _two_regions("whole", "details", (28.5, 11.5, 18.8, 72.7)),
        "Context-Aware Matting": _two_regions("whole", "details", (27.4, 10.7, 18.2, 66.2)),
        "Late Fusion Matting": _two_regions("whole", "details", (78.6, 39.8, 24.2, 88.3)),
        "MG Matting": _two_regions("whole", "details", (26.8, 9.3, 17.4, 55.1)),
        "BSHM, 100 images, long side 720": _two_regions(
            "whole", "details", (10.66, 15.5, 7.60, 91.0)
        ),
        "MG Matting, 100 images, long side 720": _two_regions(
            "whole", "details", (8.01, 9.5, 5.94, 63.7)
        ),
    },
    "robustness": {
        f"MG Matting, {variant}": {("whole", "sad"): sad, ("whole", "sad_ratio"): sad / 26.8}
        for variant, sad in (
            ("erode_30", 27.4),
            ("erode_20", 27.2),
            ("erode_10", 27.1),
            ("unchanged", 26.8),
            ("dilate_10", 27.0),
            ("dilate_20", 27.4),
            ("dilate_30", 28.1),
        )
    },
}
