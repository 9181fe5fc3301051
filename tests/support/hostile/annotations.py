"""JSON, XML, CSV, YAML and text files of labeling tools that no dataset can contain."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from support.hostile.case import DEEP_LIST, DEEP_OBJECT, HUGE, LONG, PNG, BadFile, png, png_of, zeros

Values = Mapping[str, Any]
Rows = tuple[tuple[str, Any, str], ...]
"""what is wrong, what is changed, and the line"""
_BOMB = base64.b64encode(png_of(40_000, 40_000, pixels=zeros(1 << 20))).decode()
_NOT_JSON: Rows = (
    ("empty", "", "expected a JSON file"),
    ("cut", '{"images": [', "expected a JSON file"),
    ("deep lists", DEEP_LIST, "expected a JSON file"),
    ("deep objects", DEEP_OBJECT, "expected a JSON file"),
    ("huge number", f'{{"images": [{HUGE}]}}', "expected a JSON file"),
    ("utf-16 without its mark", '{"images": []}'.encode("utf-32-le")[:-3], "expected a JSON file"),
    ("binary", b"\x80\x04\x95", "expected a JSON file"),
)


def _convert(text: str) -> str:
    return f"data convert {text} --to voc --out out --lossy"


def _coco(**changes: Any) -> str:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": 12, "height": 8}
    content: dict[str, Any] = {
        "images": [image | changes.pop("image", {})],
        "annotations": [annotation | changes.pop("annotation", {})],
        "categories": [{"id": 1, "name": "cat"} | changes.pop("category", {})],
    }
    return json.dumps(content | changes)


def _runs(counts: Any) -> Values:
    return {"annotation": {"segmentation": {"size": [8, 12], "counts": counts}}}


_OUTLINE = "annotation 1: expected segmentation as polygons"
_COCO: Rows = (
    ("a list", {"images": 5}, "expected a list 'images' of objects"),
    ("images of numbers", {"images": [1]}, "expected a list 'images' of objects"),
    ("no images", {"images": []}, "expected images, got an empty list"),
    ("no categories", {"categories": []}, "expected at least one category"),
    ("category without a name", {"categories": [{"id": 1}]}, "expected an id and a name for every category"),
    ("category with a list as name", {"category": {"name": [[["cat"]]]}}, "expected a name of 1 to 200 printable"),
    ("category name of 100,000 letters", {"category": {"name": LONG}}, "expected a name of 1 to 200 printable"),
    (
        "category name with an escape",
        {"category": {"name": "\x1b]0;title\x07"}},
        "expected a name of 1 to 200 printable",
    ),
    ("duplicate categories", {"categories": [{"id": 1, "name": "a"}] * 2}, "expected unique category ids and names"),
    ("duplicate images", {"images": [{"id": 1, "file_name": "a.png"}] * 2}, "expected unique image ids, got 1 twice"),
    ("image id of a list", {"image": {"id": [1]}}, "expected a whole number as id"),
    ("image id of NaN", {"image": {"id": float("nan")}}, "expected a whole number as id"),
    ("image without a name", {"image": {"file_name": None}}, "image 1: expected a file_name"),
    ("image name of a folder", {"image": {"file_name": ".."}}, "expected"),
    ("image name with a null", {"image": {"file_name": "x\0/y.png"}}, "expected"),
    ("image name of 100,000 letters", {"image": {"file_name": LONG}}, "expected"),
    ("image name of many folders", {"image": {"file_name": "x/" * 50_000 + "b.png"}}, "expected"),
    ("image name of half a character", {"image": {"file_name": "\ud800.png"}}, "expected"),
    ("image out of the folder", {"image": {"file_name": "../../../../../etc/shadow.png"}}, "expected"),
    ("orphan", {"annotation": {"image_id": 7}}, "annotation 1: expected an image_id of `images`, got 7"),
    ("unknown category", {"annotation": {"category_id": 9}}, "annotation 1: expected a category_id of `categories`"),
    ("category of an object", {"annotation": {"category_id": {"a": 1}}}, "expected a category_id of `categories`"),
    ("no box", {"annotation": {"bbox": None}}, "annotation 1: expected"),
    ("box of text", {"annotation": {"bbox": "1234"}}, "annotation 1: expected a list 'bbox'"),
    ("box of three numbers", {"annotation": {"bbox": [1, 2, 3]}}, "annotation 1: expected bbox as four numbers"),
    ("box of NaN", {"annotation": {"bbox": [1, 2, 3, float("nan")]}}, "annotation 1: expected bbox in pixels"),
    ("box of 10^400", {"annotation": {"bbox": [1, 2, 3, 10**400]}}, "annotation 1: expected bbox as four numbers"),
    ("box of lists", {"annotation": {"bbox": [[1], [2], [3], [4]]}}, "annotation 1: expected bbox as four numbers"),
    ("polygon of text", {"annotation": {"segmentation": ["123456"]}}, "expected a list 'polygon'"),
    ("polygon of 5 numbers", {"annotation": {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}}, _OUTLINE),
    ("polygon of NaN", {"annotation": {"segmentation": [[1, 1, 5, 1, 5, float("nan")]]}}, "expected polygons inside"),
    ("polygon far outside", {"annotation": {"segmentation": [[1, 1, 1e15, 1, 5, 5]]}}, "expected polygons inside"),
    ("run lengths of text", _runs("\x01\x02"), "annotation 1: expected COCO's compressed RLE"),
    ("run lengths cut", _runs("oooooo"), "annotation 1: expected COCO's compressed RLE"),
    ("run lengths of an object", _runs({"a": 1}), "expected a list 'counts'"),
    ("run lengths beyond 64 bits", _runs([2**70]), _OUTLINE),
    ("run lengths that are negative", _runs([-1, 97]), "expected run lengths of 96 pixels"),
    ("run lengths of another size", _runs([5, 5]), "expected run lengths of 96 pixels"),
    ("run lengths whose sum overflows", _runs([2**63 - 1, 2**63 - 1, 98]), "expected run lengths of 96 pixels"),
    ("run lengths that differ by much", _runs("P" + "_" * 9 + "0"), "annotation 1: expected COCO's compressed RLE"),
)


_CSV_COLUMNS = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
_CSV: Rows = (
    ("empty", "", "expected objects of at least one class, got none"),
    ("binary", b"\xff\xfe\xfd", "boxes.csv: expected UTF-8 text"),
    ("other columns", "a,b,c\n1,2,3\n", "boxes.csv:1: expected columns of an image, a class and a box"),
    ("fewer values", _CSV_COLUMNS + "a.png,12\n", "boxes.csv:2: expected 8 values, got 2"),
    ("no image", _CSV_COLUMNS + ",12,8,cat,1,1,5,5\n", "boxes.csv:2: expected the name of an image, got none"),
    ("box of text", _CSV_COLUMNS + "a.png,12,8,cat,1,1,x,5\n", "boxes.csv:2: expected numbers for a box"),
    ("box of NaN", _CSV_COLUMNS + "a.png,12,8,cat,1,1,nan,5\n", "boxes.csv:2: expected pixel coordinates for a box"),
    (
        "size of 10^18",
        _CSV_COLUMNS + f"a.png,{10**18},8,cat,1,1,5,5\n",
        "boxes.csv:2: expected at most 89,478,485 pixels",
    ),
    ("no class", _CSV_COLUMNS + "a.png,12,8,,1,1,5,5\n", "boxes.csv:2: expected a name of 1 to 200"),
    ("long cell", _CSV_COLUMNS + f"a.png,12,8,{LONG * 2},1,1,5,5\n", "boxes.csv: expected a CSV file"),
)


def _shape(**changes: Any) -> str:
    shape = {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [5, 1], [5, 5]]}
    content = {"shapes": [shape | changes.pop("shape", {})], "imagePath": "a.png", "imageWidth": 12, "imageHeight": 8}
    return json.dumps(content | changes)


_MASK_SHAPE = {"shape_type": "mask", "points": [[1, 1], [5, 5]]}
_LABELME: Rows = (
    ("shapes of numbers", {"shapes": [1]}, "a.json: shape 1: expected an object 'shape'"),
    ("shapes as an object", {"shapes": {}}, "a.json: expected a list 'shapes'"),
    ("no size", {"imageWidth": None}, "a.json: expected width and height as positive integers"),
    ("size of 10^18", {"imageWidth": 10**18}, "a.json: expected at most 89,478,485 pixels"),
    ("size of infinity", {"imageHeight": float("inf")}, "a.json: expected width and height"),
    ("no label", {"shape": {"label": ""}}, "a.json: shape 1: expected a label"),
    ("label of a list", {"shape": {"label": ["cat"]}}, "a.json: shape 1: expected a label"),
    ("kind of a list", {"shape": {"shape_type": ["x"], "points": 7}}, "a.json: shape 1: expected a list 'points'"),
    ("unknown kind", {"shape": {"shape_type": "cloud"}}, "a.json: shape 1: expected a polygon, rectangle"),
    (
        "points of NaN",
        {"shape": {"points": [[1, 1], [5, 1], [5, float("nan")]]}},
        "expected pixel coordinates for points",
    ),
    ("points of text", {"shape": {"points": [["a", 1], [5, 1], [5, 5]]}}, "expected numbers for points"),
    ("rectangle of one point", {"shape": {"shape_type": "rectangle", "points": [[1, 1]]}}, "expected two points"),
    ("circle of 10^9", {"shape": {"shape_type": "circle", "points": [[0, 0], [1e9, 0]]}}, "expected pixel coordinates"),
    ("mask of a number", {"shape": {**_MASK_SHAPE, "mask": 5}}, "expected a mask as PNG in base64"),
    ("mask of other text", {"shape": {**_MASK_SHAPE, "mask": "*"}}, "expected a mask as PNG in base64"),
    ("mask with points of numbers", {"shape": {**_MASK_SHAPE, "points": [5, 5]}}, "expected a list 'point'"),
    ("mask of a bomb", {"shape": {**_MASK_SHAPE, "mask": _BOMB}}, "shape 1: expected at most 89,478,485 pixels"),
    (
        "mask outside",
        {"shape": {**_MASK_SHAPE, "points": [[-4, 0], [9, 9]], "mask": base64.b64encode(png(5, 5)).decode()}},
        "expected a mask inside",
    ),
    ("image name of an object", {"imagePath": {"a": 1}, "imageHeight": 0}, "expected width and height"),
)


def _cvat(element: str, *, size: str = 'width="12" height="8"', name: str = "a.png") -> str:
    return f'<annotations><image id="0" name="{name}" {size}>{element}</image></annotations>'


def _cvat_mask(**values: str) -> str:
    attributes = {"label": "cat", "left": "0", "top": "0", "width": "12", "height": "8", "rle": "96"} | values
    text = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return _cvat(f"<mask {text}/>")


_BOX = '<box label="cat" xtl="1" ytl="1" xbr="5" ybr="5"/>'
_CVAT: Rows = (
    ("cut", _cvat(_BOX)[:-20], "annotations.xml: not well-formed XML"),
    ("entities", '<!DOCTYPE a [<!ENTITY e "x">]>' + _cvat(_BOX), "annotations.xml: entities and DTDs are refused"),
    ("no image", "<annotations/>", "expected annotated images, got none"),
    ("tracks without frames", "<annotations><track/></annotations>", "expected images of the video's frames, got none"),
    ("image without a size", _cvat(_BOX, size=""), "image a.png: expected width and height as positive integers"),
    ("image of 10^12 rows", _cvat(_BOX, size='width="1" height="1000000000000"'), "expected at most 89,478,485 pixels"),
    ("image without a name", _cvat(_BOX, name=""), "expected a name"),
    ("box without a label", _cvat(_BOX.replace("cat", "")), "box 1: expected a label"),
    ("box without a corner", _cvat(_BOX.replace("xtl", "x")), "box 1: expected numbers for xtl ytl xbr ybr"),
    ("box of NaN", _cvat(_BOX.replace('xtl="1"', 'xtl="nan"')), "box 1: expected pixel coordinates"),
    ("polygon of text", _cvat('<polygon label="cat" points="a,b;c,d"/>'), "polygon 1: expected numbers for points"),
    ("polygon of two points", _cvat('<polygon label="cat" points="1,1;2,2"/>'), "polygon 1: expected three points"),
    ("ellipse without a radius", _cvat('<ellipse label="cat" cx="1" cy="1" rx="1"/>'), "ellipse 1: expected numbers"),
    ("unknown element", _cvat('<cloud label="cat"/>'), "cloud 1: expected a box, polygon, ellipse or mask"),
    ("mask of letters", _cvat_mask(rle="a,b"), "mask 1: expected run lengths"),
    ("mask of another size", _cvat_mask(rle="5"), "mask 1: expected run lengths of 96 pixels"),
    ("mask of 10^11 pixels", _cvat_mask(width="900000", height="900000"), "mask 1: expected a mask of 1 to 89,478,485"),
    ("mask of 2^64", _cvat_mask(rle="18446744073709551616"), "mask 1: expected run lengths"),
    ("mask whose sum overflows", _cvat_mask(rle=f"{2**63 - 1},{2**63 - 1},98"), "mask 1: expected run lengths of 96"),
    ("mask outside", _cvat_mask(left="5", rle="0,96"), "mask 1: expected a mask inside the image"),
)


def _task(result: Any, **changes: Any) -> str:
    base = {"type": "rectanglelabels", "original_width": 12, "original_height": 8}
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["cat"]}
    entry = base | {"value": value | result.pop("value", {})} | result if isinstance(result, dict) else result
    return json.dumps([{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [entry]}]} | changes])


def _brush(*numbers: Any) -> Values:
    return {"type": "brushlabels", "value": {"brushlabels": ["cat"], "rle": list(numbers)}}


_LABEL_STUDIO: Rows = (
    ("tasks of numbers", "[1, 2]", "task 1: expected an object 'task'"),
    ("no image", _task({}, data={"text": "x"}), "task 1: expected the path of an image in data"),
    ("result of a number", _task(5), "task 1: expected an object 'result'"),
    ("no size", _task({"original_width": None}), "result 1: expected width and height"),
    ("size of 10^18", _task({"original_width": 10**18}), "result 1: expected at most 89,478,485 pixels"),
    ("coordinates of text", _task({"value": {"x": "left"}}), "result 1: expected numbers for x y width height"),
    ("name of an object", _task({"value": {"rectanglelabels": [{"a": 1}]}}), "result 1: expected a name of 1 to 200"),
    ("brush cut", _task(_brush(0, 0, 1, 128)), "result 1: expected run lengths of a brush mask"),
    ("brush of letters", _task(_brush("a")), "result 1: expected run lengths of a brush mask"),
    ("brush of large numbers", _task(_brush(10**30)), "result 1: expected run lengths of a brush mask"),
    ("brush of words of 32 bits", _task(_brush(0, 0, 1, 128, 248, *([255] * 40))), "result 1: expected run lengths"),
    ("brush of another size", _task(_brush(255, 255, 255, 255, 0, 0)), "result 1: expected a mask of 12x8 pixels"),
)


def _via(shape: Any, attributes: Any = None, **changes: Any) -> str:
    region = {"shape_attributes": shape, "region_attributes": {"type": "cat"} if attributes is None else attributes}
    return json.dumps({"a.png1": {"filename": "a.png", "size": 1, "regions": [region]} | changes})


_RECT = {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4}
_VIA: Rows = (
    ("shape of a number", _via(5), "region 1: expected an object 'shape_attributes'"),
    ("regions of a number", _via(_RECT, regions=5), "image a.png: expected a list of regions"),
    ("kind of a list", _via(_RECT | {"name": ["rect"]}), "region 1: expected a rect, polygon"),
    ("box of text", _via(_RECT | {"x": "left"}), "region 1: expected numbers for x y width height"),
    ("box of infinity", _via(_RECT | {"width": float("inf")}), "region 1: expected pixel coordinates"),
    (
        "polygon of two points",
        _via({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}),
        "three points",
    ),
    ("polygon of a text", _via({"name": "polygon", "all_points_x": "123", "all_points_y": "123"}), "expected numbers"),
    ("class of a list", _via(_RECT, {"type": [[1]]}), "region 1: expected a name of 1 to 200"),
    ("name of a number", _via(_RECT, filename=5), "expected"),
)
_VIA_COLUMNS = "filename,region_shape_attributes,region_attributes\n"
_VIA_CSV: Rows = (
    ("other columns", "a,b\n1,2\n", "export.csv:2: expected columns filename and region_shape_attributes"),
    ("no JSON", _VIA_COLUMNS + "a.png,{x,{}\n", "export.csv:2: expected JSON in region_shape_attributes"),
    ("more values than names", _VIA_COLUMNS + "a.png,{},{},{},{}\n", "export.csv:2: expected 3 values, got 5"),
    ("long cell", _VIA_COLUMNS + f"a.png,{LONG * 2},x\n", "export.csv: expected a CSV file"),
    ("deep JSON", _VIA_COLUMNS + f'a.png,"{DEEP_LIST[:99_999]}",x\n', "export.csv:2: expected JSON"),
    ("binary", b"\xff\xfe\xfd", "export.csv: expected UTF-8 text"),
)


def _supervisely(**changes: Any) -> dict[str, bytes | str]:
    item = {"classTitle": "cat", "geometryType": "rectangle", "points": {"exterior": [[1, 1], [5, 5]], "interior": []}}
    content = {"size": {"width": 12, "height": 8}, "objects": [item | changes.pop("object", {})]}
    meta = changes.pop("meta", json.dumps({"classes": [{"title": "cat"}]}))
    return {
        "d/meta.json": meta,
        "d/ds/img/a.png": PNG,
        "d/ds/ann/a.png.json": json.dumps(content | changes),
    }


def _bitmap(data: Any, origin: Any = (0, 0)) -> Values:
    return {"object": {"geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}}}


_DEFLATED = base64.b64encode(zlib.compress(png(5, 5))).decode()
_SUPERVISELY: Rows = (
    ("meta of a list", {"meta": "[]"}, "meta.json: expected an object 'project'"),
    ("meta cut", {"meta": '{"classes":'}, "meta.json: expected a JSON file"),
    ("class without a title", {"meta": '{"classes": [{}]}'}, "meta.json: expected a name of 1 to 200"),
    ("classes twice", {"meta": '{"classes": [{"title": "cat"}, {"title": "cat"}]}'}, "expected unique class names"),
    ("no size", {"size": None}, "a.png.json: expected an object 'size'"),
    ("kind of a list", {"object": {"geometryType": [1]}}, "object 1: expected a rectangle, polygon"),
    ("points of a list", {"object": {"points": []}}, "object 1: expected an object 'points'"),
    ("corners of numbers", {"object": {"points": {"exterior": [1, 2]}}}, "object 1: expected a list 'point'"),
    ("three corners", {"object": {"points": {"exterior": [[1, 1], [2, 2], [3, 3]]}}}, "object 1: expected two corners"),
    ("bitmap of letters beyond ASCII", _bitmap("\u00e4"), "object 1: expected a bitmap as compressed PNG in base64"),
    ("bitmap of other bytes", _bitmap("AAAA"), "object 1: expected a bitmap as compressed PNG in base64"),
    ("bitmap of zeros", _bitmap(base64.b64encode(zeros(9 << 20)).decode()), "object 1: expected a PNG mask"),
    (
        "bitmap of a bomb",
        _bitmap(base64.b64encode(zlib.compress(base64.b64decode(_BOMB))).decode()),
        "89,478,485 pixels",
    ),
    ("bitmap with one number of origin", _bitmap(_DEFLATED, [1]), "object 1: expected two numbers of origin"),
    ("bitmap outside", _bitmap(_DEFLATED, [9, 9]), "object 1: expected a mask inside the image"),
    ("unknown class", {"object": {"classTitle": "dog"}}, "expected classes of the dataset (cat), got dog"),
)


def _yolo(text: bytes | str, **files: bytes | str) -> dict[str, bytes | str]:
    base: dict[str, bytes | str] = {"d/data.yaml": "train: images/train\nnames: [cat]\n"}
    return base | {"d/images/train/a.png": PNG, "d/labels/train/a.txt": text} | files


_YOLO: Rows = (
    ("words", "cat 0.5 0.5 0.1 0.1", "a.txt:1: expected numbers"),
    ("NaN", "0 nan 0.5 0.1 0.1", "a.txt:1: expected fractions of the image"),
    ("class of NaN", "nan 0.5 0.5 0.1 0.1", "a.txt:1: expected a class"),
    ("class of infinity", "inf 0.5 0.5 0.1 0.1", "a.txt:1: expected a class"),
    ("negative class", "-1 0.5 0.5 0.1 0.1", "a.txt:1: expected a class"),
    ("class of 10^300", "1e300 0.5 0.5 0.1 0.1", "a.txt:1: expected a class"),
    ("huge class", f"{HUGE} 0.5 0.5 0.1 0.1", "a.txt:1: expected a class"),
    ("four numbers", "0 0.5 0.5 0.1", "a.txt:1: expected `class x y w h`"),
    ("six numbers", "0 1 2 3 4 5", "a.txt:1: expected `class x y w h`"),
    ("out of range", "0 1e9 0.5 0.1 0.1", "a.txt:1: expected fractions of the image"),
    ("binary", b"\xff\xd8\xff", "a.txt: expected UTF-8 text"),
    ("null character", "0 0.5 0.5 0.1 0.1\0", "a.txt: expected UTF-8 text, got a null character"),
    ("oversized", "0 0.5 0.5 0.1 0.1\n" * 990_000, "a.txt: expected at most 16,777,216 bytes"),
)
_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
_YAML: Rows = (
    ("empty", "", "data.yaml: expected names, train and val"),
    ("a list", "[1, 2]", "data.yaml: expected names, train and val"),
    ("no names", "train: images/train\n", "data.yaml: expected `names`"),
    ("names of a number", "train: x\nnames: 5\n", "data.yaml: expected `names`"),
    ("names numbered by letters", "train: x\nnames: {a: b}\n", "data.yaml: expected names numbered"),
    ("names numbered by infinity", "train: x\nnames: {.inf: b}\n", "data.yaml: expected names numbered"),
    ("other number of names", "train: x\nnc: 3\nnames: [cat]\n", "data.yaml: expected 3 names as nc states, got 1"),
    ("tag of an object", "names: !!python/object/apply:os.system ['true']\n", "data.yaml: expected a YAML file"),
    ("aliases that multiply", f"{_ALIASES}train: *a11\nnames: [cat]\n", "data.yaml: expected at most"),
    ("alias of itself", "train: &a [*a]\nnames: [cat]\n", "data.yaml: expected at most"),
    ("deep lists", f"names: {'[' * 5_000}", "data.yaml: expected a YAML file"),
    ("date that does not exist", "train: 2001-99-99\nnames: [cat]\n", "data.yaml: expected a YAML file"),
    ("huge number", f"train: x\nnc: 0x{'f' * 9_000}\nnames: [cat]\n", "data.yaml: expected numbers of at most 64 bits"),
    ("keypoints of letters", "train: images/train\nkpt_shape: [a]\nnames: [cat]\n", "data.yaml: expected kpt_shape"),
    ("split that is missing", "train: images/other\nnames: [cat]\n", "expected a folder or list"),
    ("split of many folders", f"train: {'x/' * 50_000}\nnames: [cat]\n", "expected paths of at most 2,000 characters"),
    ("split with a null", 'train: "a\\0b"\nnames: [cat]\n', "expected a folder or list"),
    ("tabs", "names:\n\t- cat\n", "data.yaml: expected a YAML file"),
    ("oversized", "# " + "x" * (1 << 20), "data.yaml: expected at most 1,048,576 bytes"),
)
_LIST_YAML = "train: train.txt\nnames: [cat]\n"


def _darknet(**files: bytes | str) -> dict[str, bytes | str]:
    base: dict[str, bytes | str] = {"d/obj.data": "names = obj.names\ntrain = train.txt\n", "d/obj.names": "cat\n"}
    return base | {"d/train.txt": "a.png\n", "d/a.png": PNG, "d/a.txt": "0 0.5 0.5 0.1 0.1\n"} | files


_DARKNET: Rows = (
    ("no names", {"d/obj.data": "train = train.txt\n"}, "expected a Darknet file such as obj.data with `names`"),
    ("missing names", {"d/obj.data": "names = no.names\ntrain = train.txt\n"}, "no.names: expected a file"),
    ("no split", {"d/obj.data": "names = obj.names\n"}, "obj.data: there is no split 'train'"),
    ("missing list", {"d/obj.data": "names = obj.names\ntrain = no.txt\n"}, "no.txt: expected a file"),
    ("empty list", {"d/train.txt": ""}, "train.txt: expected one image per line"),
    ("list of a folder", {"d/train.txt": ".\n"}, "expected"),
    ("list of the root", {"d/train.txt": "/\n"}, "expected"),
    ("list of a long name", {"d/train.txt": LONG}, "expected"),
    ("list with a null", {"d/train.txt": "x\0/a.png\n"}, "train.txt: expected UTF-8 text, got a null character"),
    ("duplicate classes", {"d/obj.names": "cat\ncat\n"}, "obj.names: expected unique class names"),
    ("binary", {"d/obj.names": b"\xff\xfe"}, "obj.names: expected UTF-8 text"),
    ("broken labels", {"d/a.txt": "0 0.5\n"}, "a.txt:1: expected `class x y w h`"),
)
_METADATA = '{"file_name": "a.png", "objects": {"bbox": [[1, 1, 4, 4]], "categories": ["cat"]}}\n'
_HUGGING_FACE: Rows = (
    ("no JSON", "{\n", "metadata.jsonl:1: expected JSON"),
    ("deep", DEEP_OBJECT, "metadata.jsonl:1: expected JSON"),
    ("a list", "[1]\n", "metadata.jsonl:1: expected an object 'row'"),
    ("no file name", '{"objects": {}}\n', "metadata.jsonl:1: expected a file_name"),
    ("file name of a folder", _METADATA.replace("a.png", "."), "expected"),
    ("file name with a null", _METADATA.replace("a.png", "x\\u0000/b.png"), "expected"),
    ("objects of a number", '{"file_name": "a.png", "objects": 5}\n', "metadata.jsonl:1: expected an object 'objects'"),
    ("box of a number", _METADATA.replace("[[1, 1, 4, 4]]", "[5]"), "metadata.jsonl:1: expected numbers for bbox"),
    ("box of three", _METADATA.replace("1, 1, 4, 4", "1, 1, 4"), "metadata.jsonl:1: expected bbox as x y width height"),
    ("box of NaN", _METADATA.replace("1, 1, 4, 4", "1, 1, 4, NaN"), "metadata.jsonl:1: expected pixel coordinates"),
    (
        "more boxes than categories",
        _METADATA.replace('"cat"', ""),
        "metadata.jsonl:1: expected a category for each box",
    ),
    (
        "category of a list",
        _METADATA.replace('"cat"', "[1]"),
        "metadata.jsonl:1: expected a category as name or number",
    ),
    ("negative category", _METADATA.replace('"cat"', "-1"), "metadata.jsonl:1: expected a category as name or number"),
    ("binary", b"\xff\xfe", "metadata.jsonl: expected UTF-8 text"),
)


def _table(format_name: str, split: str, rows: Rows, files: Mapping[str, bytes | str], file: str) -> Iterator[BadFile]:
    """Rows whose change is the content of one file of a dataset."""
    for name, content, line in rows:
        text = f"{format_name}:d{split}"
        yield BadFile(
            f"{format_name} {file.rpartition('/')[2]}: {name}", _convert(text), {**files, file: content}, line
        )


def annotation_cases() -> Iterator[BadFile]:
    """Rows of all labeling tools."""
    image = {"d/a.png": PNG}
    coco = "d/annotations/instances_train.json"
    yield from _table("coco", "@train", _NOT_JSON, image, coco)
    for name, changes, line in _COCO:
        command = "data convert coco:d@train --to folder --out out --lossy"
        yield BadFile(f"coco: {name}", command, image | {coco: _coco(**changes)}, line)
    yield from _table("labelme", "", _NOT_JSON, image, "d/a.json")
    for name, changes, line in _LABELME:
        yield BadFile(f"labelme: {name}", _convert("labelme:d"), image | {"d/a.json": _shape(**changes)}, line)
    yield from _table("csv", "/boxes.csv", _CSV, image, "d/boxes.csv")
    yield from _table("cvat", "", _CVAT, image, "d/annotations.xml")
    yield from _table("labelstudio", "", _LABEL_STUDIO, image, "d/tasks.json")
    yield from _table("via", "", _VIA, image, "d/via.json")
    yield from _table("via", "/export.csv", _VIA_CSV, image, "d/export.csv")
    for name, changes, line in _SUPERVISELY:
        yield BadFile(f"supervisely: {name}", _convert("supervisely:d"), _supervisely(**changes), line)
    yield from _table("yolo", "@train", _YOLO, _yolo(""), "d/labels/train/a.txt")
    yield from _table("yolo", "@train", _YAML, _yolo("0 0.5 0.5 0.1 0.1"), "d/data.yaml")
    for name, files, line in _DARKNET:
        yield BadFile(f"darknet: {name}", _convert("darknet:d@train"), _darknet(**files), line)
    yield from _table("huggingface", "", _HUGGING_FACE, image, "d/metadata.jsonl")
    for name, content, line in (
        ("list of a folder", "..\n", "expected"),
        ("list of a long name", LONG, "expected"),
        ("list with a null", "a\0", "train.txt: expected UTF-8 text, got a null character"),
    ):
        yield BadFile(
            f"yolo {name}",
            _convert("yolo:d@train"),
            _yolo("") | {"d/data.yaml": _LIST_YAML, "d/train.txt": content},
            line,
        )
