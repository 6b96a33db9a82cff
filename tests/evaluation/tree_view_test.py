"""A hand-drawn tree comes out as drawn, whatever text a model writes into it."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.evaluation import tree_view

# Slot 0 expands the root, slot 1 node 2, slot 2 is unused; two candidates each.
EXPANDED = np.array([0, 2, -1])
MASK = np.array([[1, 1], [1, 0], [1, 1]], bool)

# A picture that stands alone is not drawn without its namespace.
SVG = '{http://www.w3.org/2000/svg}'


def small_tree(**changes):
  one = jax.tree.map(lambda x: np.asarray(x[0]), tree_lib.empty(1, 3, 2, 2, max_steps=3))
  fields = dict(
    expanded=EXPANDED,
    tokens=np.arange(1, 7).reshape(3, 2, 1).repeat(2, axis=-1),
    length=np.ones((3, 2), int),
    terminal=np.array([[1, 0], [1, 1], [0, 0]], bool),
    mask=MASK,
    value=np.array([[0.25, 0.5], [0.75, 0], [0, 0]]),
    outcome=np.array([[0.0, 0], [1, 0], [0, 0]]),
    visits=np.array([[1, 3], [2, 0], [0, 0]]),
    q=np.array([[0.0, 0.8], [1.0, 0], [0, 0]]),
    root_value=np.float32(0.4),
  )
  return one.replace(**{**fields, **changes})


def word(tokens):
  return ' '.join(f'step{token}' for token in tokens)


def wide_nodes(count, visits):
  root = tree_view.DrawnNode(0, -1, 'prompt', 0, 0.5, 0.5, False, None, False)
  return [root] + [
    tree_view.DrawnNode(i, 0, f'step {i}', visits(i), 0.5, 0.5, False, None, False)
    for i in range(1, count + 1)
  ]


class TestDrawnNodes:
  def test_hand_drawn(self):
    root, one, two, three = tree_view.drawn_nodes(small_tree(), word, chosen=3, prompt='24?')
    assert root == tree_view.DrawnNode(
      0, -1, '24?', 4, pytest.approx(0.4), pytest.approx(0.6), False, None, True
    )
    assert one == tree_view.DrawnNode(1, 0, 'step1', 1, 0.25, 0.0, True, False, False)
    assert two == tree_view.DrawnNode(2, 0, 'step2', 3, 0.5, 0.8, False, None, True)
    assert three == tree_view.DrawnNode(3, 2, 'step3', 2, 0.75, 1.0, True, True, True)

  def test_without_an_answer_nothing_is_chosen(self):
    assert not any(node.chosen for node in tree_view.drawn_nodes(small_tree(), word))

  def test_nothing_hangs_below_a_masked_candidate(self):
    nodes = tree_view.drawn_nodes(small_tree(expanded=np.array([0, 2, 4]), mask=MASK), word)
    assert [node.id for node in nodes] == [0, 1, 2, 3]

  def test_survives_json(self):
    nodes = tree_view.drawn_nodes(small_tree(), word, chosen=1)
    text = json.dumps([dataclasses.asdict(node) for node in nodes], allow_nan=False)
    assert [tree_view.DrawnNode(**node) for node in json.loads(text)] == nodes

  def test_refuses_a_chosen_node_that_is_none(self):
    with pytest.raises(ValueError, match='chosen=4'):
      tree_view.drawn_nodes(small_tree(), word, chosen=4)

  def test_refuses_a_batch(self):
    with pytest.raises(ValueError, match='one problem'):
      tree_view.drawn_nodes(small_tree(mask=MASK[None]), word)


class TestText:
  def test_hand_drawn(self):
    text = tree_view.tree_text(tree_view.drawn_nodes(small_tree(), word, chosen=3), width=60)
    assert [line.split() for line in text.splitlines()] == [
      ['visits', 'q', 'critic'],
      ['●', 'prompt', '4', '0.60', '0.40'],
      ['├─', '●', 'step2', '3', '0.80', '0.50'],
      ['│', '└─', '●', '✓', 'step3', '2', '1.00', '0.75'],
      ['└─', '○', '✗', 'step1', '1', '0.00', '0.25'],
    ]

  def test_long_and_broken_steps_stay_on_one_line(self):
    nodes = [dataclasses.replace(node, text='ab\n' * 99) for node in wide_nodes(3, lambda i: i)]
    lines = tree_view.tree_text(nodes, width=80).splitlines()
    assert len(lines) == 5 and max(map(len, lines)) <= 80

  def test_unvisited_are_counted_not_listed(self):
    nodes = wide_nodes(6, lambda i: i % 2)
    nodes[2] = dataclasses.replace(nodes[2], terminal=True, correct=True)
    text = tree_view.tree_text(nodes)
    assert '+3 unvisited, 1 correct' in text and 'step 2' not in text and 'step 3' in text

  def test_where_nothing_counts_visits_all_are_shown(self):
    text = tree_view.tree_text(wide_nodes(6, lambda i: 0))
    assert 'step 6' in text and 'unvisited' not in text
    assert all(line.split()[-2] == '–' for line in text.splitlines()[1:])  # nothing came back

  def test_the_least_visited_give_way_and_ancestors_stay(self):
    nodes = wide_nodes(300, lambda i: i)
    deep = tree_view.DrawnNode(999, 1, 'deep and chosen', 1, 0.5, 0.5, True, True, True)
    text = tree_view.tree_text([*nodes, deep], limit=10)
    assert (
      'step 300' in text
      and 'step 280' not in text
      and 'deep and chosen' in text
      and 'step 1 ' in text
    )
    assert '+290 more' in text

  def test_refuses_a_forest(self):
    with pytest.raises(ValueError, match='one root'):
      tree_view.tree_text(wide_nodes(2, lambda i: 1)[1:])


class TestSvg:
  def test_any_byte_a_policy_writes_leaves_it_well_formed(self):
    text = bytes(range(256)).decode('latin-1') + '\ufffe\uffff'
    nodes = tree_view.drawn_nodes(small_tree(), lambda ids: f'{text}{word(ids)}', chosen=3)
    ET.fromstring(tree_view.tree_svg(nodes))
    assert all(line.isprintable() for line in tree_view.tree_text(nodes).splitlines())

  def test_parses_and_shows_every_visited_node(self):
    root = ET.fromstring(tree_view.tree_svg(tree_view.drawn_nodes(small_tree(), word, chosen=3)))
    words = [''.join(text.itertext()) for text in root.iter(SVG + 'text')]
    assert {'prompt', 'step1', 'step2', 'step3', '✓', '✗'} <= set(words)

  def test_the_chosen_path_is_set_off(self):
    root = ET.fromstring(tree_view.tree_svg(tree_view.drawn_nodes(small_tree(), word, chosen=3)))
    assert [path.get('class') for path in root.iter(SVG + 'path')] == [None, 'on', 'on']

  def test_model_text_is_escaped_and_kept_in_the_title(self):
    evil = '<script>alert("1")</script> & ' + 'long ' * 80
    nodes = [
      dataclasses.replace(node, text=evil) for node in tree_view.drawn_nodes(small_tree(), word)
    ]
    svg = tree_view.tree_svg(nodes)
    assert '<script' not in svg
    titles = [title.text for title in ET.fromstring(svg).iter(SVG + 'title')]
    assert len(titles) == len(nodes) and all(' '.join(evil.split()) in title for title in titles)

  def test_rows_do_not_overlap_and_stay_inside(self):
    nodes = [
      dataclasses.replace(n, text='many words ' * 40, chosen=n.id < 2)
      for n in wide_nodes(129, lambda i: i)
    ]
    root = ET.fromstring(tree_view.tree_svg(nodes))
    _, _, width, height = map(float, root.get('viewBox').split())
    at = sorted(
      float(text.get('y')) for text in root.iter(SVG + 'text') if text.get('x') in ('28', '48')
    )
    assert len(at) == 130 + 4 and min(np.diff(at)) >= 15 and at[-1] < height
    assert all(float(text.get('x')) <= width for text in root.iter(SVG + 'text'))
