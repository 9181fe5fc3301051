"""A self-contained HTML page: no scripts, and no files besides itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from blitznet.report.blocks import HtmlBlock

_CONTENT_SECURITY_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root{--paper:#fff;--ink:#1c1e22;--soft:#5b6270;--line:#d9dde3;--accent:#1f5fbf;--heat:#0b3d91;--light:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#15171b;--ink:#e6e8eb;--soft:#a3abb7;--line:#353b45;--accent:#7db0ff;
--heat:#7db0ff;--light:#0c0e12}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0}h2{font-size:1.2rem;margin:2.5rem 0 .25rem}
p{margin:.25rem 0 .75rem;color:var(--soft);max-width:60rem}
a{color:var(--accent)}nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem}nav a{padding:.25rem 0}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.scroll{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.25rem 0}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;font-weight:400}
thead th{color:var(--soft);vertical-align:bottom}
tr>:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
.heat{font-size:.75rem}.heat td{min-width:1.9rem;height:1.6rem;padding:0 .15rem;text-align:center;
border:1px solid var(--line);background:color-mix(in srgb,var(--heat) calc(var(--v,0)*100%),transparent)}
.heat td.dark{color:var(--light)}.heat thead th:not(:first-child){padding:.2rem 0;text-align:left}
.heat span{writing-mode:vertical-rl;transform:rotate(180deg)}
.bars{width:100%}.bars td:last-child{text-align:left;white-space:normal;min-width:14rem;color:var(--soft)}
.bars .bar{width:30%;min-width:4rem;padding:0}
.bar i{display:block;height:.8rem;background:var(--accent)}
figure{margin:0;min-width:0}figcaption{font-size:.85rem;color:var(--soft)}figcaption strong{color:var(--ink)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(11rem,45%),1fr));gap:1rem}
.charts strong{display:block}
.charts>:only-child{width:min(22rem,90vw)}
svg{display:block;width:100%}text{font-size:7.5px;text-anchor:middle;fill:var(--soft)}
.axes{stroke:var(--line);stroke-width:.5;fill:none}.diagonal{stroke:var(--soft);stroke-dasharray:3 2;fill:none}
.area{fill:var(--accent);fill-opacity:.2;stroke:var(--accent);stroke-width:1}
rect{fill:var(--accent);fill-opacity:.6}circle{fill:var(--accent)}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(30rem,100%),1fr));gap:1.25rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px}.pair img{width:100%;height:auto}
@media(max-width:30rem){.pair{grid-template-columns:1fr}}
summary{cursor:pointer;padding:.25rem 0;color:var(--accent)}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A titled part of the page; the note explains how to read it."""

    title: str
    note: str
    blocks: Sequence[HtmlBlock]


def html_page(title: str, note: str, sections: Sequence[Section]) -> str:
    """The page as UTF-8 text; it follows the light or dark setting of the reader's system."""
    links = "".join(f'<a href="#s{n}">{escape(section.title)}</a>' for n, section in enumerate(sections))
    body = "".join(_section(n, section) for n, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_CONTENT_SECURITY_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><p>{escape(note)}</p><nav>{links}</nav></header>\n"
        f"<main>{body}</main></body></html>\n"
    )


def _section(number: int, section: Section) -> str:
    blocks = "\n".join(block.html() for block in section.blocks)
    note = f"<p>{escape(section.note)}</p>" if section.note else ""
    return f'<section id="s{number}"><h2>{escape(section.title)}</h2>{note}\n{blocks}</section>\n'
