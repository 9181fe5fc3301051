"""Names and texts use the words of the field; docs/reference/glossary.md explains them."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path for folder in ("src", "tests", "benchmarks", "demo", "tools") for path in (ROOT / folder).rglob("*.py")
)
SCRIPTS = sorted([*(ROOT / "demo").glob("*.js"), *(ROOT / "src" / "blitznet" / "serve" / "page").glob("*.js")])
PAGES = sorted(
    {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")} - {ROOT / "CHANGELOG.md"}
)
"""all pages; the changelog lists the names that were replaced"""

IDENTIFIERS = {
    "image": "photo photos picture pictures shot shots",
    "spec": "contract contracts",
    "a verb of what the code does": "told tell tells said say says hear hears heard ask asks asked asking wish wishes",
    "predict, infer, forward": "look looks looked seen answered",
    "preprocess": "feed fed prepare_image",
    "postprocess": "finish finishing",
    "upsample, rasterize, draw": "paint paints painted painting",
    "confidence": "certainty certain sure certainties",
    "ssd_head, detection_prior, image_prior_weight, lateral": "guide guides guided presence taps tapped",
    "encoder": "trunk",
    "teacher, pseudo_masks, pretrained": "lesson lessons taught teach teaches",
    "match, TRUE_POSITIVE": "verdict verdicts judge judged judges",
    "replicas": "lane lanes",
    "package, layer, project": "room rooms house door doors drawer drawers",
    "expected, actual": "wanted came",
    "fix": "mend mended",
    "init": "begun",
    "american spelling": "licence colour colours normalise normalised quantise quantised localisation centre",
    "a noun of what it holds": "leaning warmth speck believed belief rival rivals stranger dealt deepened alike",
}
"""what to say instead -> words that no identifier contains"""
WHOLE_NAMES = "one other found given there kept place places thing things got did does those these"
"""words that are no identifier on their own; name what the variable holds"""

PHRASES = [
    r"\bphotos?\b",
    r"\bwanted\b.{0,80}\bcame\b",
    r"\bnobody'?s business\b",
    r"\bcounts? for nothing\b",
    r"\bgo(es)? on from\b",
    r"\btaken up again\b",
    r"\bNot given:",
    r"\bof whose\b",
    r"\btrunks?\b",
    r"\bcontracts?\b",
    r"\btold\b",
    r"\bpaint(s|ed)?\b",
    r"\bverdicts?\b",
    r"\blanes?\b",
    r"\bhears?\b|\bheard\b",
    r"\blook(s|ed)? (at|twice|once|upwards)\b",
    r"\b(says|say|said) (so|that|of|what|how|which|whether)\b",
    r"\bcertainty\b",
    r"\bby heart\b",
    r"\bmend(ed|s)?\b",
    r"\bdealt\b",
    r"\bwarmth\b",
    r"(?<!\")\blicences?\b(?!\")",  # the quoted word is a key of version 1 of the spec
    r"\bcolou?rise|\bcolours?\b",
    r"\b(normal|quant|optim|initial|recogn|local|visual|rasteri|parametr)is(e|es|ed|ing|ation)\b",
    r"\bthe (default|model) before\b",
    r"\bthe rooms?\b|\bof the house\b|\bthe nouns\b",
]
"""regular expressions that no docstring, comment, message or page matches"""

BANNED = {word: instead for instead, words in IDENTIFIERS.items() for word in words.split()}
PROSE = re.compile("|".join(PHRASES), re.IGNORECASE)


def defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module defines: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((node.lineno, alias.asname) for alias in node.names if alias.asname)


def words(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and string of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            yield token.start[0], token.string


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers(path: Path) -> None:
    if path == Path(__file__):
        return
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name} ({BANNED.get(word, 'a noun of what it holds')})"
        for line, name in defined_names(ast.parse(path.read_text()))
        for word in [
            next((word for word in words(name) if word in BANNED), name if name in WHOLE_NAMES.split() else "")
        ]
        if word
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [*CODE, *SCRIPTS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_prose(path: Path) -> None:
    if path == Path(__file__):
        return
    lines = texts(path) if path.suffix == ".py" else enumerate(path.read_text().splitlines(), 1)
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {match.group()!r} in {text.strip()[:120]!r}"
        for line, text in lines
        for match in [PROSE.search(text)]
        if match
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["PhotoPath", "painted_mask", "_told", "other", "read_contract"])
def test_the_check_finds_what_is_banned(name: str) -> None:
    assert any(word in BANNED for word in words(name)) or name in WHOLE_NAMES.split()


def test_the_check_lets_pass_what_is_standard() -> None:
    for name in ("image_path", "ImageSource", "num_anchors", "class_map", "ssd_head", "XMLParser", "nms_threshold"):
        assert not any(word in BANNED for word in words(name))
