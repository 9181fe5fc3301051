"""axe-core, the checker of accessibility, in a page of playwright."""

from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

_RUN = "() => axe.run({ resultTypes: ['violations'] })"


def find_violations(page: Page) -> list[str]:
    """Every rule that elements of the page break, with the elements."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    violations: list[dict[str, Any]] = page.evaluate(_RUN)["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: "
        + "; ".join(str(node["html"]) for node in violation["nodes"][:3])
        for violation in violations
    ]
