import pytest

from blitznet.core.errors import DataError
from blitznet.video.address import name_of_address
from blitznet.video.reader import open_video


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://user:pa55word@host:554/stream1", "stream1"),
        ("rtsp://user:pa55@word@host/stream", "stream"),
        ("rtsp://user:pa55/word@host/stream", "stream"),
        ("rtsp://user:pa55?word@host/stream", "stream"),
        ("http://host/cam?user=a&pwd=pa55word", "cam"),
        ("http://host/cam?mail=a@b.org", "cam"),
        ("rtsp://host:8554", "host-8554"),
        ("http://[::1]:80/a.mjpg", "a"),
    ],
)
def test_files_have_the_name_of_the_stream(address: str, name: str) -> None:
    assert name_of_address(address) == name


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "tcp"])
def test_errors_do_not_contain_the_password(scheme: str) -> None:
    with pytest.raises(DataError, match="127") as caught:
        open_video(f"{scheme}://user:pa55word@127.0.0.1:9/stream?key=pa55word")
    assert "pa55" not in str(caught.value)
    assert caught.value.__suppress_context__  # FFmpeg's error contains the address
