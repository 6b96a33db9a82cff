"""Laws of families of reasoning-gym: entries repeat, their own answers are right, wrong ones are
not, and no answer is run as a program."""

import ast
import functools
import inspect
import itertools
import re
import sys

import pytest

from o1jax.tasks import ahead, gym, gym_family
from o1jax.tasks.gym_family import FORMS, REFUSED
from o1jax.text.steps import ANSWER
from o1jax.types import Problem
from o1jax.verify.host import HostVerifier
from tests.tasks.ahead_test import imports

# A third of all, of every chapter: answers that are evaluated, of several lines, or in metadata;
# entries that hold tuples, objects of NumPy or Fractions; families that draw from generators of the
# whole process, or from sets.
FAMILIES = (
  'acre',
  'arc_1d',
  'basic_arithmetic',
  'binary_matrix',
  'caesar_cipher',
  'chain_sum',
  'codeio',
  'coin_flip',
  'color_cube_rotation',
  'countdown',
  'family_relationships',
  'game_of_life_halting',
  'graph_color',
  'gsm_symbolic',
  'isomorphic_strings',
  'knights_knaves',
  'list_functions',
  'maze',
  'mini_sudoku',
  'n_queens',
  'number_sorting',
  'polynomial_multiplication',
  'pool_matrix',
  'propositional_logic',
  'puzzle24',
  'quantum_lock',
  'ransom_note',
  'rearc',
  'simple_geometry',
  'simple_integration',
  'spiral_matrix',
  'string_insertion',
  'syllogism',
  'time_intervals',
  'tower_of_hanoi',
  'word_sorting',
)
# An answer to one problem may well be right for another.
LENIENT = (
  'graph_color',
  'propositional_logic',
)
EACH = 2


@functools.cache
def default(name):
  return gym_family.family(name)


def draw(item):
  name, index = item
  return default(name).draw(index, seed=7)


def told(problem, text, *, checks):
  """The verdict of one of many tasks, so that a verifier's process starts once for all."""
  return checks[problem.numbers[0]](problem, text)


@pytest.fixture(scope='module')
def drawn():
  """(name, index) -> what was drawn."""
  items = list(itertools.product(FAMILIES, range(EACH)))
  return dict(zip(items, ahead.ahead(draw, items, workers=1)))


def test_entries_are_those_of_other_processes_in_another_order(drawn):
  items = list(reversed(drawn))
  assert list(ahead.ahead(draw, items, workers=2)) == [drawn[item] for item in items]
  assert len({entry.question for entry in drawn.values()}) > len(FAMILIES) * (EACH - 1)


@pytest.mark.long
def test_references_are_right_through_our_verifier_and_wrong_answers_are_not(drawn):
  """By processes other than those that drew the problems."""
  checks = [functools.partial(gym.check, family=default(name), threshold=1.0) for name in FAMILIES]
  asked, expected = [], []
  for (name, index), entry in drawn.items():
    if entry.flaw:
      continue
    problem = Problem('', entry.entry, numbers=(FAMILIES.index(name),))
    answers = [
      default(name).reference(ast.literal_eval(e.entry)) for (n, _), e in drawn.items() if n == name
    ]
    right = answers[index].strip()
    assert right
    wrong = [
      '',
      'nonsense',
      '{}',
      right[: len(right) // 3] + '?',
      *(set(answers) - {answers[index]}),
    ]
    texts = {f'<evaluation>\n{ANSWER}nonsense\n{ANSWER} {right} ': True, right: False}
    texts |= {ANSWER + answer: False for answer in wrong[: 4 if name in LENIENT else None]}
    asked += [(problem, text) for text in texts]
    expected += texts.values()
  assert {FAMILIES[problem.numbers[0]] for problem, _ in asked} == set(FAMILIES)
  verifier = HostVerifier(functools.partial(told, checks=checks), seconds=20.0, workers=1)
  found = verifier.verdicts(asked).tolist()
  assert verifier.failure is None
  differing = [
    (FAMILIES[p.numbers[0]], text) for (p, text), a, b in zip(asked, found, expected) if a != b
  ]
  assert differing == [] and sum(expected) > EACH * len(FAMILIES) * 0.9


def test_an_entry_is_kept_as_a_literal(drawn):
  entries = {item: ast.literal_eval(entry.entry) for item, entry in drawn.items() if not entry.flaw}
  # The scorer compares tuples.
  assert {type(entries['rearc', i]['metadata']['output']) for i in range(EACH)} == {tuple}
  # They are numpy.str_ in the library.
  assert all(type(name) is str for name in entries['knights_knaves', 0]['metadata']['names'])
  odd = {
    1: (True, None, {2.5}),
    'of': gym_family.np.float64('nan'),
    'set': {gym_family.np.int64(3)},
  }
  assert gym_family._plain(odd) == {1: (True, None, {2.5}), 'of': 'nan', 'set': {3}}
  assert repr(gym_family._plain(odd)) == "{1: (True, None, {2.5}), 'of': 'nan', 'set': {3}}"


def test_a_draw_without_a_problem_says_why(monkeypatch):
  chosen = gym_family.family('chain_sum')
  assert chosen.draw(0, seed=0).flaw == ''
  monkeypatch.setattr(chosen._scorer, 'score_answer', lambda answer, entry: 0.5)
  assert re.fullmatch(r"the score of its own answer '-?\d+' is 0\.5", chosen.draw(0, seed=0).flaw)
  monkeypatch.setattr(chosen, '_chunk', ((0, 0), {}))
  assert chosen.draw(0, seed=0) == gym_family.Drawn('', '', 'KeyError: 0')


# --- answers that a scorer takes too well ---


@pytest.mark.parametrize(
  'name, metadata, answer, right, wrong',
  [
    (
      'coin_flip',
      {},
      '0.3125',
      ['0.3125', '5/16', '3125e-04', ' 0.31254'],
      ['0', '0.', '0.3', '1e-9999999999', '1/0'],
    ),
    ('game_of_life_halting', {}, 'False', ['False'], ['True', '?', 'false']),
    (
      'puzzle24',
      {'numbers': [2, 3, 4, 4]},
      '',
      ['4*3*(4-2)', '(4 - 2)*3*4'],
      ['4*6*1*1', '4*6', '2*3*4'],
    ),
  ],
)
def test_what_the_scorer_would_let_pass(name, metadata, answer, right, wrong):
  chosen, entry = default(name), {'answer': answer, 'metadata': metadata}
  assert all(chosen.score(text, entry) == 1 for text in right)
  assert all(chosen.score(text, entry) < 1 for text in wrong)
  # Else the rule is no longer needed.
  assert chosen._scorer.score_answer(wrong[0], entry) == 1.0


# --- answers that a scorer would evaluate ---


EVALUATES = re.compile(r'\b(?:eval|exec|parse_expr|sympify|parse_latex)\(')
# These evaluate texts of their own, in drawing or in scoring, and no answer.
OF_ITS_OWN = {
  'basic_arithmetic',
  'bitwise_arithmetic',
  'codeio',
  'number_sorting',
  'propositional_logic',
}
HOSTILE = (
  '__import__("pathlib").Path({0!r}).touch()',
  "open({0!r}, 'w')",
  "[open({0!r}, 'w')]",
  '(1).__class__.__base__.__subclasses__()',
  '[x for x in [open({0!r}, "w")]]',
  '1 + open({0!r}, "w").close()',
  'eval(chr(49))',
  'print(1)',
  'exec({0!r})',
  'S({0!r})',
  'x.diff',
  'f"{{open({0!r}, 1)}}"',
  '9**9**9**9 and print()',
)


def test_every_scorer_that_evaluates_answers_is_known():
  datasets = gym_family.library('factory').DATASETS
  sources = {
    name: inspect.getsource(sys.modules[kind.__module__]) for name, (kind, _) in datasets.items()
  }
  found = {name for name, source in sources.items() if EVALUATES.search(source)}
  assert found == (set(FORMS) - {'coin_flip'}) | OF_ITS_OWN


@pytest.mark.parametrize('name', sorted(FORMS))
def test_no_answer_is_run_as_a_program(name, tmp_path, monkeypatch):
  chosen, file = default(name), tmp_path / 'file'
  seen = []
  monkeypatch.setattr(
    chosen._scorer, 'score_answer', lambda answer, entry: seen.append(answer) or 1.0
  )
  entry = {'answer': '1', 'metadata': {'numbers': [1]}}
  assert chosen.score('1', entry) == 1.0
  for text in HOSTILE:
    assert chosen.score(text.format(str(file)), entry) == 0.0
  assert seen == ['1']


@pytest.mark.parametrize('name', ['n_queens', 'countdown'])
def test_the_scorers_would_run_it(name, tmp_path):
  """So there is something to guard against."""
  file = tmp_path / 'file'
  entry = {'answer': '', 'metadata': {'numbers': [1], 'target': 1, 'valid_answers': []}}
  default(name)._scorer.score_answer(f'open({str(file)!r}, "w")', entry)
  assert file.exists()


def test_forms_let_formulas_and_lists_pass():
  for text in ('3*x**2/2 + C', 'exp(-2*x)*sin(x) - 1.5*asinh(y)\n', 'log(Abs(x))', '.5*x + 2.'):
    assert FORMS['simple_integration'].fullmatch(text), text
  for text in ('[[0, 1], [1, -2]]', "['A', 'B']", '_ Q\n_ _'):
    assert FORMS['n_queens'].fullmatch(text), text
  began = '1.1' * 5000
  assert not FORMS['simple_integration'].fullmatch(began + '!')  # in no time


# --- difficulty ---


def most(**settings):
  config = gym_family.family('chain_sum', **settings).config
  return config.max_terms, config.max_digits, config.allow_negation


def test_a_level_sets_every_attribute_and_settings_come_after_it():
  assert [most(level=level) for level in (0, 3, 10)] == [
    (2, 1, False),
    (5, 4, False),
    (12, 10, False),
  ]
  assert most(level=3, settings={'max_terms': 3, 'allow_negation': True}) == (3, 4, True)
  config = gym_family.library('factory').DATASETS['chain_sum'][1]()
  assert most() == (config.max_terms, config.max_digits, config.allow_negation) != most(level=0)


@pytest.mark.parametrize(
  'settings, words',
  [
    (dict(name='sudoko'), "no family 'sudoko': choose one of sudoku, sokoban"),
    (dict(name='composite'), f'composite.* is no task: it is {REFUSED["composite"]}'),
    (dict(name='chain_sum', level=11), 'no level 11: give 0..10, or None'),
    (dict(name='chain_sum', level=-1), 'no level -1: give 0..'),
    (dict(name='acre', level=0), "'acre' has no levels: give level=None"),
    (
      dict(name='chain_sum', settings={'max_term': 3}),
      "no setting 'max_term': choose one of max_terms",
    ),
    (dict(name='chain_sum', settings={'seed': 3}), "no setting 'seed': choose one of"),
    (
      dict(name='chain_sum', settings={'max_terms': 1}),
      r"refuses level=None, settings=\{'max_terms': 1\}: max_terms",
    ),
    (dict(name='knight_swap', level=0), 'refuses level=0.*: min_nodes must be'),
  ],
)
def test_what_cannot_be_names_the_way_out(settings, words):
  with pytest.raises(ValueError, match=words) as error:
    gym_family.family(**settings)
  assert '\n' not in str(error.value)


def test_without_the_library_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'reasoning_gym', None)
  monkeypatch.setitem(sys.modules, 'reasoning_gym.factory', None)
  with pytest.raises(ImportError, match=r"pip install -e '\.\[tasks\]'"):
    gym.task(family='chain_sum')


def test_the_library_is_imported_where_it_is_used_alone():
  asked = [
    ('o1jax.tasks.gym', 'reasoning_gym'),
    ('o1jax.tasks.gym', 'sympy'),
    ('reasoning_gym', 'reasoning_gym'),
  ]
  assert list(ahead.ahead(imports, asked, workers=1)) == [False, False, True]
