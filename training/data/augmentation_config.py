"""How far augmentation goes: every random range, once.

The augmentation of NumPy arrays in loading processes and that of tensors on the computing device
draw from these. Pairs are the smallest and the largest value unless they say otherwise.
"""

from dataclasses import dataclass

__all__ = ["AUGMENTATION", "AugmentationConfig"]

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentationConfig:
    """Probabilities and ranges.

    Args:
        rotation_degrees: Three standard deviations of a crop's rotation.
        shear_degrees: Largest shear, either way.
        stretch_sigma: Standard deviation of the logarithm of a crop's stretch.
        flip_probability: How often a crop is mirrored.
        off_centre: How far from a crop's middle its centre may lie, as a share of the side.
        whole_scales: Scales of a cut-out shown whole, 1 filling the crop.
        gamma_sigma: Standard deviation of the logarithm of gamma.
        saturation: How much saturation is lost at most, and gained at most.
        channel_gain_sigma: Standard deviation of the logarithm of each channel's gain.
        exposure_sigma: The same of all channels' gain together.
        contrast: How much contrast is lost or gained at most.
        grey_probability: How often a photograph has no colours.
        dark_probability: How often a photograph is dark, as dark hair before dark ground.
        dark_factors: What a dark one's colours are multiplied by.
        matched_probability: How often a background takes the subject's colour at one place.
        matched_shares: How far it goes there.
        matched_window: How far that place reaches, one sigma as a share of the crop's side.
        matched_elsewhere: What a pixel far from it weighs; one in its middle weighs 1.
        background_zooms: Logarithms of a background's side in px over the crop's.
        least_background_px: Smallest such side.
        defocus_probability: How often a background is out of focus.
        defocus_sigmas_px: Its blur, drawn evenly in the logarithm.
        grey_backdrop_probability: How often a plain backdrop is grey.
        bright_probability: How often one is bright: snow, sky, a studio's white.
        bright_range: How far below white such a one begins.
        camera_contrast_probability: How often the camera changes contrast.
        camera_contrasts: What contrast is multiplied by.
        blur_probability: How often the camera blurs.
        blur_sigmas_px: By how much.
        noise_probability: How often it adds noise.
        noise_sigmas: Standard deviation of usual noise.
        usual_noise_probability: How often noise is usual.
        strong_noise_sigma: Of the rest.
        smooth_noise_probability: How often the sensor smooths its noise.
        smooth_noise_sigma_px: By how much.
        jpeg_probability: How often the camera writes a JPEG.
        jpeg_qualities: Of what quality; the last is left out.
        magnified_probability: How often a photograph was enlarged since, its blocks with it.
        magnifications: By one of these.
        thresholds: Alpha from which a binary mask holds a pixel; the last is left out.
        patch_fractions: Side of CutMask's patch as a fraction of the mask's.
        filled_probability: How often a mask only has its gaps filled.
        filling_kernels_px: Kernels that fill them; the last is left out.
        trimap_kernels_px: Kernels that widen a trimap's unknown region, inwards and outwards; the
            last is left out.
        matte_reductions: How much smaller a coarse matte is made.
        matte_kernel_probability: How often it is eroded or dilated.
        matte_kernels_px: By which kernels, both possible.
        matte_gains: What its contrast is multiplied by.
        matte_shifts: How far its levels move.
    """

    rotation_degrees: float = 30.0
    shear_degrees: float = 10.0
    stretch_sigma: float = 0.05
    flip_probability: float = 0.5
    off_centre: float = 0.15
    whole_scales: Range = (0.9, 1.6)
    gamma_sigma: float = 0.25
    saturation: Range = (0.6, 0.4)
    channel_gain_sigma: float = 0.06
    exposure_sigma: float = 0.15
    contrast: float = 0.3
    grey_probability: float = 0.08
    dark_probability: float = 0.08
    dark_factors: Range = (0.12, 0.5)
    matched_probability: float = 0.3
    matched_shares: Range = (0.4, 1.0)
    matched_window: float = 0.12
    matched_elsewhere: float = 1e-3
    background_zooms: Range = (-0.6, 0.9)
    least_background_px: int = 32
    defocus_probability: float = 0.35
    defocus_sigmas_px: Range = (0.8, 10.0)
    grey_backdrop_probability: float = 0.5
    bright_probability: float = 0.35
    bright_range: float = 0.25
    camera_contrast_probability: float = 0.3
    camera_contrasts: Range = (0.6, 1.4)
    blur_probability: float = 0.25
    blur_sigmas_px: Range = (0.3, 1.5)
    noise_probability: float = 0.4
    noise_sigmas: Range = (0.0, 0.04)
    usual_noise_probability: float = 0.9
    strong_noise_sigma: float = 0.1
    smooth_noise_probability: float = 0.3
    smooth_noise_sigma_px: float = 0.7
    jpeg_probability: float = 0.5
    jpeg_qualities: tuple[int, int] = (20, 97)
    magnified_probability: float = 0.12
    magnifications: tuple[float, ...] = (1.25, 1.6, 2.0)
    thresholds: Range = (0.01, 1.0)
    patch_fractions: Range = (0.25, 0.5)
    filled_probability: float = 0.1
    filling_kernels_px: tuple[int, int] = (20, 60)
    trimap_kernels_px: tuple[int, int] = (2, 41)
    matte_reductions: Range = (4.0, 16.0)
    matte_kernel_probability: float = 0.5
    matte_kernels_px: tuple[int, int] = (1, 3)
    matte_gains: Range = (0.8, 2.0)
    matte_shifts: Range = (-0.15, 0.15)


AUGMENTATION = AugmentationConfig()
