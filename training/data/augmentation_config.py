"""How far augmentation goes: every random range, once.

The augmentation of NumPy arrays in loading processes and that of tensors on the computing device
draw from these. Pairs are the smallest and the largest value unless they say otherwise.
"""

from dataclasses import dataclass

__all__ = ["AUGMENTATION", "AugmentationConfig"]

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentationConfig:
    """Probabilities and ranges."""

    rotation_degrees: float = 30.0  # three standard deviations of a crop's rotation
    shear_degrees: float = 10.0  # largest shear, either way
    stretch_sigma: float = 0.05  # standard deviation of the logarithm of a crop's stretch
    flip_probability: float = 0.5  # how often a crop is mirrored
    # How far from a crop's middle its centre may lie, as a share of the side.
    off_centre: float = 0.15
    whole_scales: Range = (0.9, 1.6)  # scales of a cut-out shown whole, 1 filling the crop
    gamma_sigma: float = 0.25  # standard deviation of the logarithm of gamma
    saturation: Range = (0.6, 0.4)  # how much saturation is lost at most, and gained at most
    channel_gain_sigma: float = 0.06  # standard deviation of the logarithm of each channel's gain
    exposure_sigma: float = 0.15  # the same of all channels' gain together
    contrast: float = 0.3  # how much contrast is lost or gained at most
    grey_probability: float = 0.08  # how often a photograph has no colours
    # How often a photograph is dark, as dark hair before dark ground.
    dark_probability: float = 0.08
    dark_factors: Range = (0.12, 0.5)  # what a dark one's colours are multiplied by
    # How often a background takes the subject's colour at one place.
    matched_probability: float = 0.3
    matched_shares: Range = (0.4, 1.0)  # how far it goes there
    # How far that place reaches, one sigma as a share of the crop's side.
    matched_window: float = 0.12
    matched_elsewhere: float = 1e-3  # what a pixel far from it weighs; one in its middle weighs 1
    background_zooms: Range = (-0.6, 0.9)  # logarithms of a background's side in px over the crop's
    least_background_px: int = 32  # smallest such side
    defocus_probability: float = 0.35  # how often a background is out of focus
    defocus_sigmas_px: Range = (0.8, 10.0)  # its blur, drawn evenly in the logarithm
    grey_backdrop_probability: float = 0.5  # how often a plain backdrop is grey
    bright_probability: float = 0.35  # how often one is bright: snow, sky, a studio's white
    bright_range: float = 0.25  # how far below white such a one begins
    camera_contrast_probability: float = 0.3  # how often the camera changes contrast
    camera_contrasts: Range = (0.6, 1.4)  # what contrast is multiplied by
    blur_probability: float = 0.25  # how often the camera blurs
    blur_sigmas_px: Range = (0.3, 1.5)  # by how much
    noise_probability: float = 0.4  # how often it adds noise
    noise_sigmas: Range = (0.0, 0.04)  # standard deviation of usual noise
    usual_noise_probability: float = 0.9  # how often noise is usual
    strong_noise_sigma: float = 0.1  # of the rest
    smooth_noise_probability: float = 0.3  # how often the sensor smooths its noise
    smooth_noise_sigma_px: float = 0.7  # by how much
    jpeg_probability: float = 0.5  # how often the camera writes a JPEG
    jpeg_qualities: tuple[int, int] = (20, 97)  # of what quality; the last is left out
    # How often a photograph was enlarged since, its blocks with it.
    magnified_probability: float = 0.12
    magnifications: tuple[float, ...] = (1.25, 1.6, 2.0)  # by one of these
    # Alpha from which a binary mask holds a pixel; the last is left out.
    thresholds: Range = (0.01, 1.0)
    patch_fractions: Range = (0.25, 0.5)  # side of CutMask's patch as a fraction of the mask's
    filled_probability: float = 0.1  # how often a mask only has its gaps filled
    filling_kernels_px: tuple[int, int] = (20, 60)  # kernels that fill them; the last is left out
    # Kernels that widen a trimap's unknown region, inwards and outwards; the last is left out.
    trimap_kernels_px: tuple[int, int] = (2, 41)
    matte_reductions: Range = (4.0, 16.0)  # how much smaller a coarse matte is made
    matte_kernel_probability: float = 0.5  # how often it is eroded or dilated
    matte_kernels_px: tuple[int, int] = (1, 3)  # by which kernels, both possible
    matte_gains: Range = (0.8, 2.0)  # what its contrast is multiplied by
    matte_shifts: Range = (-0.15, 0.15)  # how far its levels move


AUGMENTATION = AugmentationConfig()
