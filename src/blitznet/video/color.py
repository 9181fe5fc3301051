"""Colors of video frames: YUV to RGB and back by the source's own matrix and range, and HDR to SDR.

A file that names no matrix is read as players read it: BT.709 from `_MIN_HD_SIZE` on, BT.601 below. Frames in PQ or
HLG (HDR) become BT.709, because networks and annotated videos are SDR. Codes are those of ITU-T H.273.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from blitznet.core.arrays import RGBArray

BT709, BT601, BT2020 = 1, 6, 9
"""codes of matrices, and of primaries"""
LIMITED, FULL = 1, 2
"""codes of ranges, as FFmpeg numbers them: 16 to 235, and 0 to 255"""
_UNSPECIFIED, _RGB = 2, 0
_PQ, _HLG = 16, 18
_MIN_HD_SIZE = (577, 1280)
"""(height, width) one of which an HD video reaches"""
_SWSCALE_MATRIX = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601}
_SWSCALE_MATRIX |= {7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND

_LUT_SIZE = 33
"""samples per axis of the table from HDR to SDR"""
_SDR_WHITE = 203.0
"""luminance of SDR white in cd/m2, by ITU-R BT.2408"""
_HDR_PEAK = 1000.0
"""luminance in cd/m2 that becomes full white"""
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float64
)
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593])


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How a video's YUV values stand for colors, as codes of ITU-T H.273 (range: as FFmpeg)."""

    matrix: int = BT601
    range: int = LIMITED
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.transfer in (_PQ, _HLG)

    @property
    def sdr(self) -> "ColorTags":
        """The tags of an SDR copy: BT.709 for HDR, the same tags otherwise."""
        return ColorTags(BT709, LIMITED, BT709, BT709) if self.is_hdr else self


def default_tags(height: int, width: int) -> ColorTags:
    """The tags that players assume for a size where a file has none."""
    is_hd = height >= _MIN_HD_SIZE[0] or width >= _MIN_HD_SIZE[1]
    return ColorTags(BT709 if is_hd else BT601)


def read_tags(frame: VideoFrame) -> ColorTags:
    """The tags of a decoded frame; a matrix or range that it does not name is that of `default_tags`."""
    default = default_tags(frame.height, frame.width)
    matrix, value_range = int(frame.colorspace), int(frame.color_range)
    return ColorTags(
        matrix if matrix in _SWSCALE_MATRIX else default.matrix,
        value_range if value_range in (LIMITED, FULL) and matrix != _RGB else default.range,
        int(frame.color_primaries),
        int(frame.color_trc),
    )


def to_rgb(frame: VideoFrame) -> RGBArray:
    """A decoded frame as (H, W, 3) uint8 RGB, SDR; transparent pixels are blended with white, as those of images."""
    tags = read_tags(frame)
    source = None if int(frame.colorspace) == _RGB else _SWSCALE_MATRIX[tags.matrix]
    if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
        image = _on_white(frame.reformat(format="rgba", src_colorspace=source).to_ndarray())
    else:
        image = cast(RGBArray, frame.reformat(format="rgb24", src_colorspace=source).to_ndarray())
    return _to_sdr(image, tags.transfer) if tags.is_hdr else image


def from_rgb(image: RGBArray, tags: ColorTags) -> VideoFrame:
    """An image (H, W, 3) uint8 RGB with even sizes as a yuv420p frame with these tags."""
    return VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=_SWSCALE_MATRIX[tags.matrix],
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange(tags.range),
        interpolation=_ACCURATE,
    )


def _on_white(rgba: NDArray[Any]) -> RGBArray:
    """An image (H, W, 4) uint8 RGBA on white."""
    image = Image.fromarray(rgba, "RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, image).convert("RGB"))


def _to_sdr(image: RGBArray, transfer: int) -> RGBArray:
    """An HDR image of BT.2020 primaries as BT.709."""
    return np.asarray(Image.fromarray(image).filter(_sdr_table(transfer)))


@lru_cache(maxsize=2)
def _sdr_table(transfer: int) -> ImageFilter.Color3DLUT:
    """The table of a transfer function; red changes fastest."""
    axis = np.linspace(0, 1, _LUT_SIZE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    values = _tone_map(np.stack([red, green, blue], -1), transfer)
    return ImageFilter.Color3DLUT(_LUT_SIZE, values.astype(np.float32).ravel().tolist())


def _tone_map(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Non-linear BT.2020 values (..., 3) 0..1 of an HDR signal as non-linear BT.709 values 0..1."""
    light = _pq_light(signal) if transfer == _PQ else _hlg_light(signal)
    light = light / _SDR_WHITE
    luminance = light @ _BT2020_LUMA
    peak = _HDR_PEAK / _SDR_WHITE
    compressed = luminance * (1 + luminance / peak**2) / (1 + luminance)  # Reinhard's curve, 1 at the peak
    light *= np.divide(compressed, luminance, out=np.zeros_like(luminance), where=luminance > 0)[..., None]
    # 2.4 is the exponent of an SDR display (ITU-R BT.1886); 1.8 lifts what the curve darkened below white
    return np.asarray(np.clip(1.8 * light @ _BT2020_TO_BT709.T, 0, 1) ** (1 / 2.4))


def _pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Luminance in cd/m2 of PQ values (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Luminance in cd/m2 of HLG values (ITU-R BT.2100) on a display of 1,000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ _BT2020_LUMA
    return np.asarray(1000 * scene * luminance[..., None] ** 0.2)
