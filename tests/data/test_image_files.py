"""Images that annotation files name."""

from pathlib import Path

import pytest

from blitznet.data.image_files import ImageFinder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "b/2.jpg", "images/3.jpg", "images/my image.jpg", "images/cafe\u0301.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/1.jpg", "a/1.jpg"),
        ("C:\\x\\a\\1.jpg", "a/1.jpg"),
        ("/content/set/b/2.jpg", "b/2.jpg"),
        ("2.jpg", "b/2.jpg"),
        ("3.jpg", "images/3.jpg"),
        ("my%20image.jpg", "images/my image.jpg"),
        ("/data/local-files/?d=images/my%20image.jpg", "images/my image.jpg"),
        ("https://x.org/images/3.jpg?key=a%2Fb", "images/3.jpg"),
        ("caf\u00e9.jpg", "images/cafe\u0301.jpg"),
        ("d/caf\u00e9.jpg", "images/cafe\u0301.jpg"),
        ("9.jpg", "images/9.jpg"),
    ],
)
def test_a_name_is_found_in_the_places_where_tools_leave_images(name: str, expected: str, root: Path) -> None:
    assert ImageFinder(root, [root / "images"]).find(name) == root / expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a/1.jpg", "c/1.jpg"), ("a/1.jpg", "images/c/1.jpg")),
        (("c/1.jpg", "a/1.jpg"), ("images/c/1.jpg", "a/1.jpg")),
        (("c/1.jpg", "d/1.jpg"), ("images/c/1.jpg", "images/d/1.jpg")),
        (("/x/a/1.jpg", "/x/b/2.jpg"), ("a/1.jpg", "b/2.jpg")),
        (("c/1.jpg", "c/1.jpg"), ("a/1.jpg", "a/1.jpg")),
    ],
)
def test_an_image_never_stands_in_for_another_one(
    names: tuple[str, ...], expected: tuple[str, ...], root: Path
) -> None:
    """A missing image would get the pixels of another one, and the other one a second set of boxes."""
    images = ImageFinder(root, [root / "images"]).find_all(names)
    assert [images[name].relative_to(root).as_posix() for name in names] == list(expected)


def test_folders_may_be_left_out_of_the_search_by_bare_name(root: Path) -> None:
    finder = ImageFinder(root, [root / "images"], is_skipped=lambda name: name == "b")
    assert finder.find("2.jpg") == root / "images" / "2.jpg"
    assert finder.find("b/2.jpg") == root / "b" / "2.jpg"
