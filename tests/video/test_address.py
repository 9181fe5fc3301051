import pytest

from blitznet.core.errors import DataError
from blitznet.video.address import name_of_address, printable_address
from blitznet.video.reader import open_video


@pytest.mark.parametrize(
    ("address", "printable", "name"),
    [
        ("rtsp://user:pa55word@host:554/stream1", "rtsp://host:554/stream1", "stream1"),
        ("rtsp://user:pa55@word@host/stream", "rtsp://host/stream", "stream"),
        ("rtsp://user:pa55/word@host/stream", "rtsp://host/stream", "stream"),
        ("rtsp://user:pa55?word@host/stream", "rtsp://host/stream", "stream"),
        ("http://host/cam?user=a&pwd=pa55word", "http://host/cam?...", "cam"),
        ("http://host/cam?mail=a@b.org", "http://host/cam?...", "cam"),
        ("rtsp://host:8554", "rtsp://host:8554", "host-8554"),
        ("http://[::1]:80/a.mjpg", "http://[::1]:80/a.mjpg", "a"),
        ("folder/user:pa55@file.mp4", "folder/user:pa55@file.mp4", "file"),
    ],
)
def test_addresses_are_printed_without_secrets(address: str, printable: str, name: str) -> None:
    assert printable_address(address) == printable
    if "://" in address:
        assert name_of_address(address) == name


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "tcp"])
def test_errors_do_not_contain_the_password(scheme: str) -> None:
    with pytest.raises(DataError, match="127") as caught:
        open_video(f"{scheme}://user:pa55word@127.0.0.1:9/stream?key=pa55word")
    assert "pa55" not in str(caught.value)
    assert caught.value.__suppress_context__  # FFmpeg's error contains the address
