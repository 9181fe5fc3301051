"""Addresses of images, cameras and streams as they may be printed: without user names, passwords and queries."""


def is_address(source: str) -> bool:
    """Whether a source is an address such as rtsp://host/path."""
    return "://" in source


def printable_address(source: str) -> str:
    """An address without its credentials and query, which may be secrets; a path is unchanged."""
    if not is_address(source):
        return source
    scheme, _, rest = source.partition("://")
    location = without_credentials(rest)
    base, query, _ = location.partition("?")
    return f"{scheme}://{base}{'?...' if query else ''}"


def without_credentials(rest: str) -> str:
    """What follows the last @; passwords may contain @, / and ? although they should not."""
    before_query = rest.partition("?")[0]
    authority = before_query.partition("/")[0]
    _, colon, port = authority.partition(":")
    is_host = not colon or port.isdigit() or authority.startswith("[")
    return rest if is_host and "@" not in before_query else rest.rpartition("@")[2]
