"""Make the font of the package: DejaVu Sans with Latin, Greek and Cyrillic letters and common symbols only.

    python tools/subset_font.py

reads the font that matplotlib contains and writes src/blitznet/drawing/fonts. matplotlib installs fonttools.
"""

from pathlib import Path
from shutil import copyfile

import matplotlib
from fontTools import subset

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TARGET = Path(__file__).parents[1] / "src" / "blitznet" / "drawing" / "fonts"
RANGES = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0x24F),  # Latin-1, Latin Extended-A and -B
    (0x2B0, 0x36F),  # modifiers and combining accents
    (0x370, 0x3FF),  # Greek
    (0x400, 0x52F),  # Cyrillic
    (0x1E00, 0x1EFF),  # Latin Extended Additional: Vietnamese
    (0x2010, 0x2044),  # dashes, quotes and the ellipsis
    (0x20AC, 0x20BF),  # currencies
    (0x2122, 0x2122),
    (0x2190, 0x2193),  # arrows
    (0x2212, 0x2212),
)
"""Unicode ranges, both ends included"""


def main() -> None:
    """Write the font and its license."""
    options = subset.Options(layout_features=["kern", "mark", "mkmk", "ccmp", "locl"], hinting=False, name_IDs=["*"])
    font = subset.load_font(str(FONTS / "DejaVuSans.ttf"), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in RANGES for code in range(first, last + 1)])
    subsetter.subset(font)
    TARGET.mkdir(exist_ok=True)
    subset.save_font(font, str(TARGET / "DejaVuSans-subset.ttf"), options)
    copyfile(FONTS / "LICENSE_DEJAVU", TARGET / "LICENSE_DEJAVU")


if __name__ == "__main__":
    main()
