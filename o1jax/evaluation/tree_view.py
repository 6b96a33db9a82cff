"""One searched problem drawn as a tree: as inline SVG for a page or a notebook, and as plain text
for a terminal.

Both share one layout, an indented outline: one row a node, children below their parent, the chosen
path first and then the most visited. Unlike boxes and arrows it stays readable at any depth, with
long steps, and on a narrow screen.
"""

import collections
import dataclasses
import html
import textwrap

import numpy as np


@dataclasses.dataclass(frozen=True)
class DrawnNode:
  """One node of a searched tree, on the host, ready to be drawn or written as JSON.

  Attributes:
    id: node id as in `Tree`; the root is 0.
    parent: id of the parent, -1 for the root.
    text: the step as text.
    visits: simulations that went through the node.
    value: the critic's P(correct | prefix), in [0, 1].
    q: mean backed-up return, 0 where unvisited.
    terminal: the solution is complete here.
    correct: the exact verdict on a terminal node, None elsewhere or where it was not verified.
    chosen: lies on the path that the search answered with.
  """

  id: int
  parent: int
  text: str
  visits: int
  value: float
  q: float
  terminal: bool
  correct: bool | None
  chosen: bool


@dataclasses.dataclass(frozen=True)
class _Row:
  """One node of the outline, its children that are not drawn, and whether it is the last of its
  siblings."""

  depth: int
  node: DrawnNode
  hidden: tuple[DrawnNode, ...]
  last: bool


def drawn_nodes(tree, decode, *, chosen=None, prompt='prompt'):
  """The real candidates of one problem's tree as DrawnNodes, root first, in order of id.

  Args:
    tree: a `Tree` of one problem: arrays without the batch axis. `outcome` must be filled for the
      verdicts to hold.
    decode: function from a list of token ids to text.
    chosen: id of the node that the search answered with, or None.
    prompt: text of the root.

  Returns:
    List of DrawnNode. Masked candidates (merged duplicates), all below them, and unused slots are
    not nodes. The root's visits and q are those of its children together.
  """
  mask, visits, q, value = (np.asarray(x) for x in (tree.mask, tree.visits, tree.q, tree.value))
  terminal, outcome = np.asarray(tree.terminal), np.asarray(tree.outcome)
  unjudged = np.asarray(tree.unjudged)
  tokens, length, expanded = (np.asarray(x) for x in (tree.tokens, tree.length, tree.expanded))
  if mask.ndim != 2:
    raise ValueError(
      f'drawn_nodes takes one problem, mask [X, A], got {mask.shape}: index the batch axis first'
    )
  width = mask.shape[1]
  real, parents = [], {}
  for x, a in np.argwhere(mask).tolist():
    # A slot expands a node of an earlier slot, so a parent is always met before its children.
    if expanded[x] == 0 or int(expanded[x]) in parents:
      real.append((x, a))
      parents[1 + x * width + a] = int(expanded[x])
  path, node = {0}, chosen
  if chosen not in (None, 0) and chosen not in parents:
    raise ValueError(
      f'chosen={chosen} is no real candidate of the tree: ids are 1 + x*{width} + a, 0 is the root'
    )
  while node:
    path.add(node)
    node = parents[node]
  below = [(x, a) for x, a in real if expanded[x] == 0]
  total = sum(int(visits[i]) for i in below)
  mean = sum(float(visits[i] * q[i]) for i in below) / max(total, 1)
  root = DrawnNode(
    0, -1, prompt, total, float(np.asarray(tree.root_value)), mean, False, None, chosen is not None
  )
  nodes = [
    DrawnNode(
      *(1 + x * width + a, int(expanded[x]), decode(tokens[x, a, : length[x, a]].tolist())),
      *(int(visits[x, a]), float(value[x, a]), float(q[x, a]), bool(terminal[x, a])),
      correct=bool(outcome[x, a] > 0.5) if terminal[x, a] and not unjudged[x, a] else None,
      chosen=1 + x * width + a in path,
    )
    for x, a in real
  ]
  return [root, *nodes]


def tree_text(nodes, *, width=110, limit=130):
  """The tree as indented plain text.

  Args:
    nodes: list of DrawnNode, one of them the root (parent -1).
    width: columns of the terminal.
    limit: most nodes shown; the least visited are counted behind a '+3 more'.

  Returns:
    Text whose lines show the step, then visits, q ('–' where unvisited) and the critic's value. '●'
    marks the chosen path, '✓' and '✗' the verdict of a finished solution. Unvisited candidates are
    counted behind their parent, '+3 unvisited'.
  """
  lines, stems = [f'{"":{width - 21}}visits     q  critic'], {}
  for row in _outline(nodes, limit):
    stem = ''.join(stems[depth] for depth in range(1, row.depth))
    branch = '' if row.depth == 0 else '└─ ' if row.last else '├─ '
    stems[row.depth] = '   ' if row.last else '│  '
    node, note = row.node, _hidden_note(row.hidden)
    words = f'{stem}{branch}{"●" if node.chosen else "○"} {_symbol(node)}{_plain(node.text)}'
    room = width - 23 - len(note)
    words = words if len(words) <= room else words[: room - 1] + '…'
    q = f'{node.q:.2f}' if node.visits else '–'
    lines.append(f'{words + note:{width - 23}} {node.visits:7d} {q:>6} {node.value:6.2f}')
  return '\n'.join(lines)


# Geometry in pixels of the drawing's own width; CHARACTER is the advance of the 12px monospace
# face.
WIDTH, INDENT, LINE, GAP, CHARACTER, TEXT_END = 960, 20, 17, 9, 7.3, 730

STYLE = """
.o1tree {font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace}
.o1tree text {fill: var(--muted, #59636e)}
.o1tree text.on {fill: var(--ink, #1f2328); font-weight: 600}
.o1tree path {fill: none; stroke: var(--line, #c4cad1); stroke-width: 1.2}
.o1tree path.on {stroke: var(--blue, #0072b2); stroke-width: 3}
.o1tree .dot {fill: var(--muted, #59636e)} .o1tree .dot.on {fill: var(--blue, #0072b2)}
.o1tree .right {fill: var(--green, #00795a)}
.o1tree .wrong {fill: var(--red, #c44e00)} .o1tree .open {fill: var(--muted, #59636e)}
.o1tree .mark {fill: var(--paper, #fff); font-weight: 700}
.o1tree .track {fill: var(--line, #d0d7de); opacity: .45}
.o1tree .bar {fill: var(--muted, #8a939d)} .o1tree .bar.on {fill: var(--blue, #0072b2)}
.o1tree .note {font-style: italic; font-weight: 400; fill: var(--muted, #59636e)}
.o1tree .head {font-family: system-ui, sans-serif}
.o1tree .stripe {fill: var(--blue, #0072b2); opacity: .08}
"""


def tree_svg(nodes, *, limit=130):
  """The tree as one self-contained inline SVG element (a string), for light and dark pages.

  Args:
    nodes: list of DrawnNode, one of them the root (parent -1).
    limit: most nodes shown, as in `tree_text`.

  Returns:
    SVG. A step is cut to one line (three on the chosen path) and is whole in a hover title. All
    text is escaped.
  """
  top, edges, marks, centre = 34, [], [], {}
  rows = _outline(nodes, limit)
  most = max(row.node.visits for row in rows)
  for row in rows:
    x = 14 + INDENT * row.depth
    lines = _lines(row, int((TEXT_END - x - 14) / CHARACTER))
    y = centre[row.node.id] = top + LINE / 2
    if row.depth:
      on = row.node.chosen
      edges.append(
        (on, f'<path{_class(on)} d="M{x - INDENT} {centre[row.node.parent]:.1f}V{y:.1f}H{x}"/>')
      )
    marks.append(_node_svg(row, lines, x, y, most))
    top += LINE * len(lines) + GAP
  heads = (
    (TEXT_END + 10, 'start', 'visits'),
    (895, 'end', 'mean return'),
    (WIDTH - 6, 'end', 'critic'),
  )
  head = ''.join(
    f'<text class="head" x="{x}" y="16" text-anchor="{anchor}">{word}</text>'
    for x, anchor, word in heads
  )
  # The chosen path is drawn last, over the vertical strokes of the others in its columns.
  drawn = ''.join(path for _, path in sorted(edges, key=lambda edge: edge[0]))
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" class="o1tree" role="img" aria-label="searched tree" '
    f'viewBox="0 0 {WIDTH} {top + 4}" width="{WIDTH}" height="{top + 4}">'
    f'<style>{STYLE}</style>{head}{drawn}{"".join(marks)}</svg>'
  )


def _outline(nodes, limit):
  """The rows of both renderings, depth first."""
  by_id = {node.id: node for node in nodes}
  children = collections.defaultdict(list)
  for node in nodes:
    children[node.parent].append(node)
  if len(children[-1]) != 1:
    raise ValueError(f'a tree has one root (parent -1), these nodes have {len(children[-1])}')
  # Best-of-N visits nothing twice and may count no visits at all. Every node then counts as
  # visited.
  counted = any(node.visits for node in nodes)
  ranked = sorted(
    (n for n in nodes if n.chosen or n.visits or not counted),
    key=lambda n: (not n.chosen, -n.visits),
  )
  kept = {children[-1][0].id}
  for node in ranked[:limit]:
    while node.id not in kept:
      kept.add(node.id)
      node = by_id[node.parent]
  rows, stack = [], [(0, children[-1][0], True)]
  while stack:
    depth, node, last = stack.pop()
    rows.append(_Row(depth, node, tuple(n for n in children[node.id] if n.id not in kept), last))
    shown = sorted(
      (n for n in children[node.id] if n.id in kept), key=lambda n: (not n.chosen, -n.visits, n.id)
    )
    stack.extend((depth + 1, child, child is shown[-1]) for child in reversed(shown))
  return rows


def _hidden_note(hidden):
  if not hidden:
    return ''
  word = 'more' if any(node.visits for node in hidden) else 'unvisited'
  right = sum(node.correct is True for node in hidden)
  return f'  +{len(hidden)} {word}' + (f', {right} correct' if right else '')


def _symbol(node):
  return {True: '✓ ', False: '✗ ', None: '■ '}[node.correct] if node.terminal else ''


def _plain(text):
  # A policy may write any byte, and XML allows no control characters, not even escaped.
  shown = (char if char.isprintable() else '\ufffd' for char in ' '.join(text.split()))
  return ''.join(shown) or '(nothing)'


def _lines(row, room):
  most, room = (3 if row.node.chosen else 1), room - len(_hidden_note(row.hidden))
  return textwrap.wrap(_plain(row.node.text), max(room, 12), max_lines=most, placeholder=' …')


def _class(on, *names):
  names = (*names, 'on') if on else names
  return f' class="{" ".join(names)}"' if names else ''


def _node_svg(row, lines, x, y, most):
  node, on = row.node, row.node.chosen
  title = f'node {node.id}: {_plain(node.text)}\n'
  title += f'visits {node.visits}, mean return {node.q:.3f}, critic {node.value:.3f}'
  title += ''.join(f'\nnot shown: {_plain(child.text)}' for child in row.hidden[:20])
  dot = f'<circle{_class(on, "dot")} cx="{x}" cy="{y:.1f}" r="{5.5 if on else 4.5}"/>'
  if node.terminal:
    kind = {True: 'right', False: 'wrong', None: 'open'}[node.correct]
    dot = (
      f'<circle class="{kind}" cx="{x}" cy="{y:.1f}" r="8"/>'
      f'<text class="mark" x="{x}" y="{y + 4.2:.1f}" '
      f'text-anchor="middle">{_symbol(node).strip()}</text>'
    )
  notes = [''] * (len(lines) - 1) + [
    f'<tspan class="note" dx="14">{_hidden_note(row.hidden).strip()}</tspan>'
  ]
  words = ''.join(
    f'<text{_class(on)} x="{x + 14}" y="{y + 4 + LINE * i:.1f}">{html.escape(line)}{note}</text>'
    for i, (line, note) in enumerate(zip(lines, notes, strict=True))
  )
  bar = 70 * node.visits / max(most, 1)
  numbers = ''.join(
    f'<text{_class(on)} x="{end}" y="{y + 4:.1f}" text-anchor="end">{number}</text>'
    for end, number in (
      (TEXT_END + 110, node.visits),
      (895, f'{node.q:.2f}' if node.visits else '–'),
      (WIDTH - 6, f'{node.value:.2f}'),
    )
  )
  above, height = y - (LINE + GAP) / 2, LINE * len(lines) + GAP
  stripe = f'<rect class="stripe" x="0" y="{above:.1f}" width="{WIDTH}" height="{height}"/>'
  return (
    f'<g><title>{html.escape(title)}</title>{stripe if on else ""}{dot}{words}'
    f'<rect class="track" x="{TEXT_END + 10}" y="{y - 4:.1f}" width="70" height="8" rx="2"/>'
    f'<rect{_class(on, "bar")} x="{TEXT_END + 10}" y="{y - 4:.1f}" width="{bar:.1f}" height="8" '
    f'rx="2"/>{numbers}</g>'
  )
