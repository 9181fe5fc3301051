"""Names of files for the addresses of cameras and streams."""

from pathlib import Path

from blitznet.core.address import without_credentials


def name_of_address(source: str) -> str:
    """A file stem: the last part of the address's path, without the query and the credentials."""
    location = without_credentials(source.partition("://")[2]).partition("?")[0]
    return Path(location.strip("/").rpartition("/")[2].replace(":", "-")).stem or "stream"
