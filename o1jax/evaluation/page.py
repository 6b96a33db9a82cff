"""The look of the report: one style sheet and a few HTML pieces. No address, script or font from
outside."""

import html

# Dark values are the same hues, lighter: figures refer to the variables, so they follow.
STYLE = """
:root {color-scheme: light dark; --ink: #1f2328; --muted: #59636e; --line: #d1d9e0; --paper: #ffffff; --panel: #f6f8fa;
  --blue: #0072b2; --red: #c44e00; --green: #00795a; --pink: #b65f90; --orange: #c98500; --sky: #56b4e9}
@media (prefers-color-scheme: dark) {:root {--ink: #e6edf3; --muted: #9aa5b1; --line: #373e47; --paper: #0f1419;
  --panel: #171d24; --blue: #58a9e8; --red: #f08a4b; --green: #3fbf97; --pink: #dd9cc0; --orange: #e8b03d;
  --sky: #8fd0f5}}
* {box-sizing: border-box}
body {margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif}
main {max-width: 1020px; margin: 0 auto; padding: 40px 24px 64px}
h1 {font-size: 30px; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 4px}
h2 {font-size: 21px; margin: 56px 0 6px; padding-top: 18px; border-top: 1px solid var(--line)}
h3 {font-size: 16px; margin: 28px 0 4px}
p {max-width: 74ch; margin: 8px 0} a {color: var(--blue)}
.subtitle, figcaption, .caption {color: var(--muted); font-size: 14px; line-height: 1.5}
.lead {font-size: 17.5px; margin-top: 18px}
.tiles {display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 24px 0 8px}
.tile {background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px}
.tile b {display: block; font-size: 27px; line-height: 1.3; font-variant-numeric: tabular-nums; letter-spacing: -.01em}
.tile span {display: block; font-size: 13.5px; line-height: 1.4; color: var(--muted)}
nav {display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 18px; font-size: 14.5px} nav a {text-decoration: none}
figure {margin: 16px 0 8px} figcaption {max-width: 84ch; margin-top: 8px}
.panels {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px 20px}
svg.figure {display: block; width: 100%; height: auto; max-width: 680px} svg.figure * {stroke-linejoin: round}
.legend {display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 12px 0 6px; font-size: 14px;
  list-style: none; padding: 0}
.legend svg {vertical-align: -2px; margin-right: 6px}
.scroll {overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; padding: 4px; margin: 12px 0 6px}
.scroll svg {display: block; margin: 6px auto}
table {border-collapse: collapse; width: 100%; font-size: 13px; line-height: 1.45; font-variant-numeric: tabular-nums}
th, td {padding: 3px 6px; text-align: right; white-space: nowrap}
th {font-weight: 600; color: var(--muted); border-bottom: 1px solid var(--line)}
th.word, td.word {text-align: left} tr.first td {border-top: 1px solid var(--line)}
pre {font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 8px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; padding: 12px 14px; background: var(--panel); border-radius: 8px}
.missing {border-left: 4px solid var(--orange); background: var(--panel); padding: 10px 16px;
  border-radius: 0 8px 8px 0}
.right {color: var(--green); font-weight: 600} .wrong {color: var(--red); font-weight: 600}
footer {margin-top: 64px; padding-top: 18px; border-top: 1px solid var(--line); font-size: 14px; color: var(--muted)}
summary {cursor: pointer} code {font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em}
@media (max-width: 560px) {th, td.word {white-space: normal} td.word {min-width: 8.5em} th, td {padding: 3px 4px} main {padding: 24px 14px 48px} h1 {font-size: 25px} .lead {font-size: 16.5px}}
@media print {main {max-width: none} .scroll {overflow: visible}}
"""

# The markers of the figures, as Matplotlib names them.
SHAPES = {
  'o': '<circle cx="13" cy="7" r="4"/>',
  's': '<rect x="9.3" y="3.3" width="7.4" height="7.4"/>',
  '^': '<path d="M13 2.5L17.5 11H8.5Z"/>',
  'v': '<path d="M13 11.5L17.5 3H8.5Z"/>',
  'D': '<path d="M13 2L18 7L13 12L8 7Z"/>',
  'h': '<path d="M13 2L17.3 4.5V9.5L13 12L8.7 9.5V4.5Z"/>',
  'P': '<path d="M13 2.5V11.5M8.5 7H17.5" stroke-width="3.4"/>',
  'X': '<path d="M9.5 3.5L16.5 10.5M16.5 3.5L9.5 10.5" stroke-width="3.4"/>',
}


def document(title, body):
  """A whole page; `body` is HTML."""
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n'
  )


def section(name, title, body):
  """A section with an anchor; `body` is HTML."""
  return f'<section id="{name}"><h2>{html.escape(title)}</h2>\n{body}</section>\n'


MEASURING = 'measures'  # what the stage that writes most of a report's data does


def missing(path, does):
  """What stands in place of a section whose data is not there. `does`: what the stage that writes
  it does."""
  return (
    f'<p class="missing">Nothing to show: <code>{html.escape(path)}</code> is missing. '
    f'The stage that <b>{html.escape(does)}</b> writes it; run that stage, and then the report '
    f'again.</p>'
  )


def panels(drawings, caption):
  """Drawings side by side, below each other where the page is narrow."""
  return f'<figure><div class="panels">{"".join(drawings)}</div><figcaption>{caption}</figcaption></figure>'


def legend(look, words, *, dotted=()):
  """A line with its marker and its words for each name of `look` ({name: (colour, marker)}); those
  of the names `dotted` are."""
  items = []
  for name, (colour, marker) in look.items():
    dash = ' stroke-dasharray="3 3"' if name in dotted else ''
    items.append(
      f'<li><svg width="26" height="14" style="fill: var(--{colour}); stroke: '
      f'var(--{colour})"><path d="M0 7H26" '
      f'stroke-width="2"{dash}/>{SHAPES[marker]}</svg>{html.escape(words(name))}</li>'
    )
  return f'<ul class="legend">{"".join(items)}</ul>'


def tiles(pairs):
  """Big numbers with a line of explanation each; `pairs` of plain text."""
  body = ''.join(
    f'<div class="tile"><b>{html.escape(b)}</b><span>{html.escape(s)}</span></div>'
    for b, s in pairs
  )
  return f'<div class="tiles">{body}</div>'


def table(heads, rows, *, words, group=0):
  """A table of plain text.

  Args:
    heads: of the columns.
    rows: tuples of as many cells.
    words: the places of the columns that hold words; all others are numbers.
    group: a line sets off each change of the first so many cells.
  """
  kinds = ['word' if i in words else '' for i in range(len(heads))]
  head = ''.join(
    f'<th class="{k}">{html.escape(h)}</th>' for k, h in zip(kinds, heads, strict=True)
  )
  body, before = [], None
  for row in rows:
    cells = ''.join(
      f'<td class="{k}">{html.escape(c)}</td>' for k, c in zip(kinds, row, strict=True)
    )
    mark = ' class="first"' if before not in (None, row[:group]) else ''
    body.append(f'<tr{mark}>{cells}</tr>')
    before = row[:group]
  return (
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
    f'<tbody>{"".join(body)}</tbody></table></div>'
  )
