"""Prose of the README and the documentation is short: mean sentence length and longest sentence.

`python tests/docs/test_sentences.py` prints the mean, the longest sentence and its length for every page.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MEAN_WORDS = 16.0
MAX_WORDS = 35
GENERATED = ("tables",)
"""folders of pages that commands write"""
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(page for page in DOCS.rglob("*.md") if page.parent.name not in GENERATED),
]

_FENCED = re.compile(r"^([`~]{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`]+`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_BLOCK_START = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9])")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs|et al|approx)\.")


def sentences(text: str) -> list[str]:
    """Sentences of a Markdown page, without headings, tables, code blocks, images and HTML."""
    text = _COMMENT.sub("", _FENCED.sub("\n", text))
    return [
        sentence.strip()
        for paragraph in _paragraphs(text)
        for sentence in _SENTENCE_END.split(_plain(paragraph))
        if re.search(r"\w", sentence)
    ]


def words(sentence: str) -> int:
    """Number of words of a sentence; inline code is one word."""
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def _paragraphs(text: str) -> list[str]:
    """Paragraphs and list items, each on one line."""
    paragraphs = [""]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "|", "<", "![")):
            paragraphs.append("")
        elif _BLOCK_START.match(line):
            paragraphs.append(_BLOCK_START.sub("", line))
        else:
            paragraphs[-1] += " " + line.strip()
    return [paragraph for paragraph in paragraphs if paragraph.strip()]


def _plain(paragraph: str) -> str:
    """A paragraph with link texts instead of links, and one word for each inline code."""
    return _ABBREVIATIONS.sub(r"\1", _LINK.sub(r"\1", _INLINE_CODE.sub("Code", paragraph)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short(page: Path) -> None:
    lengths = {sentence: words(sentence) for sentence in sentences(page.read_text())}
    assert not {sentence: length for sentence, length in lengths.items() if length > MAX_WORDS}
    if lengths:
        assert sum(lengths.values()) / len(lengths) <= MEAN_WORDS


def test_sentences_splits_text_and_skips_code_and_tables() -> None:
    prose = "# Title\n\nOne two `a b`. Three, e.g. four!\n\n- item one\n- item\n  two\n"
    text = f"{prose}\n```console\nrun this\n```\n\n| a | b |\n"
    assert [words(sentence) for sentence in sentences(text)] == [3, 3, 2, 2]


def _report(page: Path) -> str:
    page_sentences = sentences(page.read_text())
    longest = max(page_sentences, key=words, default="")
    mean = sum(map(words, page_sentences)) / max(len(page_sentences), 1)
    return f"{mean:5.1f} {words(longest):4d}  {page.relative_to(ROOT)}: {longest[:90]}"


if __name__ == "__main__":
    for page in PAGES:
        if page.exists():
            print(_report(page))  # noqa: T201
