import pytest

from blitznet.core.address import printable_address


@pytest.mark.parametrize(
    ("address", "printable"),
    [
        ("rtsp://user:pa55word@host:554/stream1", "rtsp://host:554/stream1"),
        ("rtsp://user:pa55@word@host/stream", "rtsp://host/stream"),
        ("rtsp://user:pa55/word@host/stream", "rtsp://host/stream"),
        ("rtsp://user:pa55?word@host/stream", "rtsp://host/stream"),
        ("http://host/cam?user=a&pwd=pa55word", "http://host/cam?..."),
        ("http://host/cam?mail=a@b.org", "http://host/cam?..."),
        ("rtsp://host:8554", "rtsp://host:8554"),
        ("http://[::1]:80/a.mjpg", "http://[::1]:80/a.mjpg"),
        ("folder/user:pa55@file.mp4", "folder/user:pa55@file.mp4"),
    ],
)
def test_addresses_are_printed_without_secrets(address: str, printable: str) -> None:
    assert printable_address(address) == printable
