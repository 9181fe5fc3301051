"""Class names of VOC and COCO, their aliases, and the color palette."""

import numpy as np
from numpy.typing import NDArray

VOC: tuple[str, ...] = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""the 20 classes of Pascal VOC in the order of its class maps (value = index + 1)"""

_COCO_ONLY = (
    "apple,backpack,banana,baseball bat,baseball glove,bear,bed,bench,book,bowl,broccoli,cake,carrot,"
    "cell phone,clock,cup,donut,elephant,fire hydrant,fork,frisbee,giraffe,hair drier,handbag,hot dog,"
    "keyboard,kite,knife,laptop,microwave,mouse,orange,oven,parking meter,pizza,refrigerator,remote,"
    "sandwich,scissors,sink,skateboard,skis,snowboard,spoon,sports ball,stop sign,suitcase,surfboard,"
    "teddy bear,tennis racket,tie,toaster,toilet,toothbrush,traffic light,truck,umbrella,vase,"
    "wine glass,zebra"
).split(",")
_COCO_NAMES_OF_VOC = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
COCO: tuple[str, ...] = (*(_COCO_NAMES_OF_VOC.get(name, name) for name in VOC), *_COCO_ONLY)
"""the 80 classes of COCO in the order of the original implementation: VOC's first, so a COCO head can be cut to VOC"""

COCO_BY_ID: tuple[str, ...] = tuple(
    (
        "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
        "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
        "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,"
        "surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,"
        "broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,"
        "mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,"
        "teddy bear,hair drier,toothbrush"
    ).split(",")
)
"""the 80 classes of COCO in the order of their official ids, 1 to 90: person, bicycle, car ..."""

_ALIASES = {
    "airplane": "aeroplane",
    "plane": "aeroplane",
    "bike": "bicycle",
    "couch": "sofa",
    "motorcycle": "motorbike",
    "television": "tvmonitor",
    "tv": "tvmonitor",
    "table": "diningtable",
    "pedestrian": "person",
    "plant": "pottedplant",
}


def canonical(name: str) -> str:
    """The key that all names of a class share: `TV monitor` and `tv` both give `tvmonitor`."""
    key = "".join(c for c in name.lower() if c not in " _-")
    return _ALIASES.get(key, key)


def palette() -> NDArray[np.uint8]:
    """VOC's palette (256, 3): the bits of the index go to red, green and blue in turn."""
    index = np.arange(256, dtype=np.int64)
    colors = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colors.astype(np.uint8)
