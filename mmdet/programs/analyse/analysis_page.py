"""The page that shows an analysis: plain HTML beside its pictures and tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222 }
body { max-width: 1500px; margin: 2em auto; padding: 0 1em }
h2 { border-bottom: 1px solid #ccc; margin-top: 2em }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: 2px 12px; text-align: right; border-bottom: 1px solid #e4e4e4 }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; border: 1px solid #e4e4e4; margin: 4px }
.row img { max-width: 48% }
"""


@dataclass
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: a paragraph.
        pictures: file names, relative to the page.
        table: column names and rows, or None.
        files: tables beside the page to link.
        wide: one picture in a row instead of two.
    """

    title: str
    text: str = ''
    pictures: Sequence[str] = ()
    table: tuple[Sequence[str], Iterable[Sequence]] | None = None
    files: Sequence[str] = ()
    wide: bool = False


def html_page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The page as text; every part is escaped."""
    body = [f'<h1>{escape(title)}</h1>', f'<p>{escape(lead)}</p>']
    for section in sections:
        body += _section(section)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><style>{_STYLE}</style></head><body>\n' + '\n'.join(body) + '\n</body></html>\n'
    )


def _section(section: Section) -> list[str]:
    lines = [f'<h2>{escape(section.title)}</h2>']
    if section.text:
        lines.append(f'<p>{escape(section.text)}</p>')
    if section.table is not None:
        names, rows = section.table
        lines += ['<table>', _row('th', names), *[_row('td', row) for row in rows], '</table>']
    if section.pictures:
        images = [f'<a href="{escape(p)}"><img src="{escape(p)}"></a>' for p in section.pictures]
        lines += [f'<div class="{"wide" if section.wide else "row"}">', *images, '</div>']
    if section.files:
        links = ', '.join(f'<a href="{escape(f)}">{escape(f)}</a>' for f in section.files)
        lines.append(f'<p>As tables: {links}</p>')
    return lines


def _row(cell: str, values: Iterable) -> str:
    cells = ''.join(f'<{cell}>{escape(str(value))}</{cell}>' for value in values)
    return f'<tr>{cells}</tr>'
