"""The reader of mask folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.data.detect import detect_layout
from blitznet.data.folder import open_folder
from blitznet.data.masks import UnknownValueError
from support import exports, synthetic_data


def test_without_background_value_0_is_the_first_class(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(3)
    synthetic_data.write_folder(tmp_path, drawings, background=False)
    dataset = open_folder(tmp_path, None, title="t")
    assert dataset.class_names == synthetic_data.NAMES
    for k, drawing in enumerate(drawings):
        expected = np.where(drawing.class_map == 0, 255, drawing.class_map)
        np.testing.assert_array_equal(dataset[k].class_map(), expected)


def test_an_image_without_a_png_has_no_mask(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(3))
    (tmp_path / "masks" / "toy_0001.png").unlink()
    dataset = open_folder(tmp_path, None, title="t")
    assert [dataset[k].mask is None for k in range(3)] == [False, True, False]
    assert not dataset[1].annotated_mask_classes.any()


def test_splits_as_list_and_as_folder(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4)
    synthetic_data.write_folder(tmp_path, drawings)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("toy_0002\ntoy_0000.png\n")
    for kind in ("images", "masks"):
        (tmp_path / kind / "train").mkdir()
        (tmp_path / kind / "toy_0001.png").rename(tmp_path / kind / "train" / "toy_0001.png")
    assert open_folder(tmp_path, "val", title="t").ids == ("toy_0002", "toy_0000")
    train = open_folder(tmp_path, "train", title="t")
    assert train.ids == ("train/toy_0001",)
    np.testing.assert_array_equal(train[0].class_map(), drawings[1].class_map)
    with pytest.raises(DataError, match="there is no split 'test'; splits here: train, val"):
        open_folder(tmp_path, "test", title="t")


def test_lists_contain_names_with_or_without_suffix(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(4))
    names = ("my image.png", "IMG_1.PNG", "odd.jpg.png")
    for k, name in enumerate(names):
        (tmp_path / "images" / f"toy_000{k}.png").rename(tmp_path / "images" / name)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("my image\r\n\nIMG_1.PNG\n odd.jpg\n")
    dataset = open_folder(tmp_path, "val", title="t")
    assert dataset.ids == ("my image", "IMG_1", "odd.jpg")
    assert [Path(image).name for image in dataset.image_paths] == [*names]


def test_two_images_of_one_name_are_refused_in_the_selected_split(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(4))
    synthetic_data.write_image(tmp_path / "images" / "toy_0001.jpg", synthetic_data.draw(1)[0])
    (tmp_path / "masks" / "toy_0002.PNG").write_bytes((tmp_path / "masks" / "toy_0002.png").read_bytes())
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "both.txt").write_text("toy_0001.jpg\n")
    (tmp_path / "splits" / "single.txt").write_text("toy_0002\n")
    for split in (None, "both"):
        with pytest.raises(
            DataError, match=r"toy_0001\.jpg: expected one image .* got also toy_0001\.png; .* remove one"
        ):
            open_folder(tmp_path, split, title="t")
    assert open_folder(tmp_path, "single", title="t")[0].mask is not None


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("images", "expected images"),
        ("masks", "expected PNG masks"),
        ("classes.txt", "expected a file, got a path that does not exist"),
    ],
)
def test_missing_parts_are_refused(missing: str, message: str, tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path, None, title="t")


def test_number_of_classes_is_limited(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    for lines in (["background"], [f"c{k}" for k in range(255)]):
        (tmp_path / "classes.txt").write_text("\n".join(lines))
        with pytest.raises(DataError, match="expected 1 to 254 classes"):
            open_folder(tmp_path, None, title="t")


def test_labelme_names_of_background_and_ignored_regions_are_no_classes(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    (tmp_path / "classes.txt").write_text("__ignore__\n_background_\ncross\nell\nsquare\n")
    dataset = open_folder(tmp_path, None, title="t")
    assert dataset.class_names == synthetic_data.NAMES
    assert dataset.background


@pytest.mark.parametrize("ending", ["_mask", "-mask", "_label"])
def test_masks_may_have_an_ending(ending: str, tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    for path in sorted((tmp_path / "masks").iterdir()):
        path.rename(path.with_stem(path.stem + ending))
    dataset = open_folder(tmp_path, None, title="t")
    np.testing.assert_array_equal(dataset[0].class_map(), synthetic_data.draw(2)[0].class_map)


def test_masks_of_other_names_are_refused(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    for number, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        path.rename(path.with_stem(f"{number}"))
    with pytest.raises(DataError, match=r"expected PNG masks with the names of the images, got 0\.png, 1\.png"):
        open_folder(tmp_path, None, title="t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Pixel Value, Class\n0, background\n2, x\n", "expected pixel values 0, 1, 2"),
        ("value, name\n0, background\n", "2: expected a pixel value and a class name"),
        ("Pixel Value, Class\n0, background, 7\n", "2: expected 2 values, got 3"),
        ("Pixel Value, Class\n", "expected pixel values 0, 1, 2"),
    ],
)
def test_broken_roboflow_classes_are_refused(text: str, message: str, tmp_path: Path) -> None:
    exports.write_roboflow_masks(tmp_path, synthetic_data.draw(2))
    (tmp_path / "train" / "_classes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path, "train", title="t")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labelmap.txt", "cross:1,2::", r"labelmap\.txt:1: expected a color as three numbers, got '1,2'"),
        ("labelmap.txt", "cross:1,2,300::", "expected a color of numbers 0 to 255"),
        ("labelmap.txt", "cross:1,2,3::\nell:1,2,3::", "expected a color of its own"),
        ("labelmap.txt", "background:0,0,0::", "expected 1 to 254 unique class names"),
        ("class_dict.csv", "name,r,g,b\ncross,1,2", r"class_dict\.csv:2: expected a color"),
    ],
)
def test_broken_color_tables_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path, synthetic_data.draw(2))
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path, None, title="t")


def test_an_unknown_color_is_an_error_of_its_mask(tmp_path: Path) -> None:
    exports.write_color_masks(tmp_path, synthetic_data.draw(2))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nbackground,0,0,0\ncross,1,2,3\n")
    mask = open_folder(tmp_path, None, title="t")[0].mask
    assert mask is not None
    with pytest.raises(UnknownValueError, match=r"expected the colors of the color table, got \("):
        mask.read()


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_gray_colors_are_colors_in_masks_of_any_mode(mode: str, tmp_path: Path) -> None:
    """As indices, the values 1 and 2 of this table would be the other class."""
    drawings = synthetic_data.draw(2)
    synthetic_data.write_folder(tmp_path, drawings)
    table = {"background": 0, "cross": 2, "ell": 1, "square": 255}
    (tmp_path / "classes.txt").unlink()
    rows = "".join(f"{name},{value},{value},{value}\n" for name, value in table.items())
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\n" + rows)
    colors = np.asarray([*table.values()], np.uint8)
    for drawing in drawings:
        Image.fromarray(colors[drawing.class_map]).convert(mode).save(tmp_path / "masks" / f"{drawing.id}.png")
    dataset = open_folder(tmp_path, None, title="t")
    assert len(dataset) == len(drawings)
    for index, drawing in enumerate(drawings):
        np.testing.assert_array_equal(dataset[index].class_map(), drawing.class_map)


def test_a_palette_without_colors_does_not_make_all_pixels_background(tmp_path: Path) -> None:
    drawing = synthetic_data.draw(1)[0]
    exports.write_color_masks(tmp_path, [drawing])
    image = Image.frombytes("P", drawing.class_map.shape[::-1], drawing.class_map.tobytes())
    image.putpalette([0, 0, 0] * 256)
    image.save(tmp_path / "masks" / f"{drawing.id}.png")
    np.testing.assert_array_equal(open_folder(tmp_path, None, title="t")[0].class_map(), drawing.class_map)


def test_folders_may_be_links(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path / "disk", synthetic_data.draw(2))
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        (tmp_path / "set" / kind / "train").symlink_to(tmp_path / "disk" / kind)
    (tmp_path / "set" / "classes.txt").write_text((tmp_path / "disk" / "classes.txt").read_text())
    assert detect_layout(tmp_path / "set").splits == ("train",)
    dataset = open_folder(tmp_path / "set", "train", title="t")
    assert dataset.ids == ("train/toy_0000", "train/toy_0001")
    assert not dataset.unlabeled
