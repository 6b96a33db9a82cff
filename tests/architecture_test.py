"""The arrows between folders and the size of things, read from the source with ast alone."""

import ast
import functools
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEVELS = {
  'types': 0,
  'tree': 0,
  'keys': 0,
  'files': 0,
  'model': 1,
  'text': 1,
  'tasks': 2,
  'data': 2,
  'verify': 2,
  'decode': 3,
  'policy': 4,
  'reward': 4,
  'dialogue': 4,
  'search': 5,
  'learning': 5,
  'fused': 6,
  'evaluation': 7,
  'runtime': 8,
  'recipes': 9,
}
SIDEWAYS = {('tree', 'types'), ('keys', 'types'), ('data', 'tasks')}
# The only files that may import a module: the rest of the code is free of it.
DOORS = {
  'mctx': ('o1jax/search/mcts.py',),
  'ml_collections': ('o1jax/runtime/config.py', 'configs/', 'experiments/'),
  'absl.flags': ('experiments/',),
  'orbax': ('o1jax/runtime/checkpoint.py',),
}
# The tables of variants, by the file that they stand in. What stands in one is named by its own
# package, configs and tests alone.
TABLES = {
  'search/__init__.py': ('SEARCHES',),
  'search/choose.py': ('CHOICES',),
  'search/stop.py': ('STOPS',),
  'learning/__init__.py': ('LOSSES', 'ADVANTAGES', 'VALUES', 'DRAWS'),
  'tasks/__init__.py': ('TASKS',),
  'data/__init__.py': ('FORMATS', 'LABELS'),
  'verify/__init__.py': ('JUDGES',),
  'reward/__init__.py': ('SCORES',),
  'model/__init__.py': ('FAMILIES',),
  'recipes/__init__.py': ('STAGES',),
  'evaluation/studies/__init__.py': ('CLAIMS',),
}
# Keys of tables that as texts mean something else elsewhere, too.
COMMON = {
  'math': 'a format of data, and a judge of answers',
  'critic': 'a role of parameters, and a score',
  'outcome': 'the verdict on a solution, and a label of the critic',
  'length': 'of rows and steps',
  'value': 'a number of a node, and a method of the transformer',
  'agreement': 'a score, and a rule that stops a search',
  'verifier': 'a section of a config, and a rule that stops a search',
  'group': 'of devices that exchange messages',
  'task': 'what poses problems',
  'code': 'a field of published programs, and what a compiled program is made of',
  'report': 'a folder of a run',
  'first_error': 'a label of the critic, and what a judge of it counts',
  'revision': 'of the code of a run, and a search',
  'label': 'a field of published solutions, and a stage',
}
# Files that may name the variants of some tables all the same.
NAMING = {
  'experiments/benchmark/': ('SEARCHES', 'STAGES'),  # two searches, and learning, are timed
  'experiments/aot/': ('STAGES',),  # `learn` is a part of an update, beside its search
  'o1jax/fused.py': ('STAGES',),  # the same
  'experiments/faults.py': ('STAGES',),  # runs stages of the quickstart
  'o1jax/recipes/older.py': ('CHOICES',),  # what older configs chose by
  'o1jax/recipes/settings.py': ('CHOICES',),  # what a search chooses by that does not say
  'o1jax/recipes/experiment.py': ('JUDGES',),  # programs are read by their judge's parser
}
FILE_LINES, BODY_LINES = 400, 60
# 'path' or 'path:function' -> lines; a reason belongs beside each
ALLOWED_LONG: dict[str, int] = {
  'tests/verify/math_answers.py': 600,  # a table
}
MACHINE_PATHS = re.compile(r'(?<![\w./:-])/(?:work|root|home|tmp/v)\b')


def sources(*folders):
  paths = [path for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))]
  return {path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8') for path in paths}


def notebooks():
  paths = [
    path
    for path in sorted((ROOT / 'notebooks').rglob('*.ipynb'))
    if '.ipynb_checkpoints' not in path.parts
  ]
  return {path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8') for path in paths}


def imports(path, source):
  """The dotted names a file imports, relative imports resolved; `from a import b` gives a.b."""
  package = path.split('/')[:-1]
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package[: len(package) - node.level + 1] if node.level else []
      base = '.'.join([*above, *([node.module] if node.module else [])])
      yield from (f'{base}.{alias.name}' for alias in node.names)


def upward(path, source):
  """The imports of a file of o1jax that go to a folder of the same or a higher level, or out of the
  package."""
  own = path.removesuffix('.py').split('/')[1]
  for name in imports(path, source):
    parts = name.split('.')
    if parts[0] in ('configs', 'experiments', 'tests', 'notebooks'):
      yield f'{path} imports {name}'
    if parts[0] != 'o1jax' or len(parts) == 1 or parts[1] == own:
      continue
    if own == '__init__' or LEVELS[parts[1]] >= LEVELS[own] and (own, parts[1]) not in SIDEWAYS:
      yield f'{path} imports {name}'


def intruders(path, source):
  """The imports of a file that only other files may make."""
  for name in imports(path, source):
    for module, doors in DOORS.items():
      if (name == module or name.startswith(f'{module}.')) and not path.startswith(doors):
        yield f'{path} imports {name}'


def keys(source, table):
  """The keys of a table that a module assigns, or [] if it assigns none."""
  for node in ast.parse(source).body:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
    if any(isinstance(target, ast.Name) and target.id == table for target in targets):
      if isinstance(node.value, ast.Call):  # dict(name=row)
        return [keyword.arg for keyword in node.value.keywords]
      return [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
  return []


@functools.cache
def variants():
  """(package, table) -> the names of its variants."""
  found = {}
  for path, tables in TABLES.items():
    source = (ROOT / 'o1jax' / path).read_text()
    found |= {(path.split('/')[0], table): keys(source, table) for table in tables}
  return found


def named_variants(path, source, known=None):
  """Variants that a file outside their package names, as a text or as a module that it imports."""
  texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
  used = set(imports(path, source))
  free = {table for prefix, tables in NAMING.items() if path.startswith(prefix) for table in tables}
  for (package, table), names in (known or variants()).items():
    if path.startswith(f'o1jax/{package}/') or table in free:
      continue
    for name in sorted(names):
      module = f'o1jax.{package}.{name}'
      said = name in texts and name not in COMMON
      if said or any(f'{found}.'.startswith(f'{module}.') for found in used):
        yield f'{path} names {name}, of {package}'


def undocumented(path, source):
  """A file with code and no docstring, and its public functions and classes without one."""
  tree = ast.parse(source)
  if tree.body and not ast.get_docstring(tree):
    yield path
  for node in tree.body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith('_'):
      if not ast.get_docstring(node):
        yield f'{path}:{node.name}'


def too_long(path, source):
  """A file of too many lines, and its functions whose body, docstring apart, has too many."""
  lines = len(source.splitlines())
  if lines > ALLOWED_LONG.get(path, FILE_LINES):
    yield f'{path} has {lines} lines'
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef):
      body = node.body[1:] if ast.get_docstring(node) else node.body
      size = body[-1].end_lineno - body[0].lineno + 1 if body else 0
      if size > ALLOWED_LONG.get(f'{path}:{node.name}', BODY_LINES):
        yield f'{path}:{node.name} has a body of {size} lines'


def logic(path, text):
  """The statements of a notebook's code cells that are more than imports and calls."""
  for cell in json.loads(text)['cells']:
    if cell['cell_type'] == 'code':
      code = ''.join(cell['source'])
      plain = '\n'.join(line for line in code.splitlines() if not line.startswith(('%', '!')))
      for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.stmt) and not isinstance(
          node, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign
        ):
          yield f'{path}: {ast.unparse(node).splitlines()[0]}'


def offenders(law, files):
  return [found for path, text in files.items() for found in law(path, text)]


def test_every_folder_has_a_level():
  found = {path.split('/')[1].removesuffix('.py') for path in sources('o1jax')} - {'__init__'}
  assert found - LEVELS.keys() == set()


def test_imports_go_to_a_smaller_level():
  assert offenders(upward, sources('o1jax')) == []


def test_a_library_enters_by_its_door_only():
  assert offenders(intruders, sources('o1jax', 'configs', 'experiments')) == []


def test_every_table_is_where_it_should_be():
  assert [table for table, names in variants().items() if not names] == []
  known = {name for names in variants().values() for name in names}
  assert COMMON.keys() <= known


def test_no_file_is_excused_without_need():
  needed = set()
  for path, text in sources('o1jax', 'experiments').items():
    for prefix, tables in NAMING.items():
      if path.startswith(prefix):
        for one, names in variants().items():
          if one[1] in tables and list(named_variants(f'o1jax/other/{path}', text, {one: names})):
            needed.add((prefix, one[1]))
  assert needed == {(prefix, table) for prefix, tables in NAMING.items() for table in tables}


def test_a_variant_is_named_by_its_own_package_alone():
  assert offenders(named_variants, sources('o1jax', 'experiments')) == []


@pytest.mark.parametrize(
  'path, text, count',
  [
    ('o1jax/search/__init__.py', "SEARCHES = {'beam': 1}\nif x == 'beam': y = 'beam'", 0),
    ('o1jax/recipes/build.py', "if method == 'beam': pass", 1),
    ('o1jax/recipes/build.py', "x = dict(a='beams', b='a beam')", 0),
    ('o1jax/recipes/build.py', 'from o1jax.search.beam import beam', 1),
    ('o1jax/recipes/build.py', 'from o1jax.search import beam', 1),
    ('o1jax/recipes/build.py', 'from o1jax.search import SEARCHES', 0),
    ('o1jax/recipes/build.py', "x = 'math'", 0),
    ('o1jax/recipes/build.py', 'from o1jax.verify import math', 1),
    ('experiments/solve.py', "show(budget['dpo'], 'beam')", 2),
    ('experiments/benchmark/work.py', "show(budget['dpo'], 'beam')", 1),
  ],
)
def test_variants_are_seen_where_they_are_named(path, text, count):
  known = {('search', 'SEARCHES'): {'beam'}, ('learning', 'LOSSES'): {'dpo'}}
  known['verify', 'JUDGES'] = {'math'}
  assert len(list(named_variants(path, text, known))) == count


def test_the_keys_of_a_table_are_read():
  text = "A = {'x': 1, 'y': 2}\nB: dict[str, int] = {'z': 3}\nC = dict(w=4)\nD: int"
  assert [keys(text, name) for name in 'ABCE'] == [['x', 'y'], ['z'], ['w'], []]


def test_what_is_public_is_documented():
  assert offenders(undocumented, sources('o1jax')) == []


def test_files_and_functions_are_short():
  assert offenders(too_long, sources('o1jax', 'configs', 'experiments', 'tests')) == []


def test_notebooks_hold_imports_and_calls_only():
  assert offenders(logic, notebooks()) == []


def test_no_file_names_a_folder_of_one_machine():
  files = {**sources('o1jax', 'configs', 'experiments', 'tests'), **notebooks()}
  assert [path for path, text in files.items() if MACHINE_PATHS.search(text)] == []


@pytest.mark.parametrize(
  'law, path, text, count',
  [
    (
      upward,
      'o1jax/model/a.py',
      'from o1jax.types import Tree\nfrom o1jax import tree\nimport o1jax\nimport jax',
      0,
    ),
    (
      upward,
      'o1jax/model/a.py',
      'from . import b\nfrom .b import c\nfrom o1jax.model.b import c',
      0,
    ),
    (upward, 'o1jax/model/a.py', 'from o1jax import text', 1),
    (upward, 'o1jax/model/a.py', 'from ..text import b', 1),
    (upward, 'o1jax/model/a.py', 'from .. import search', 1),
    (upward, 'o1jax/search/a.py', 'import o1jax.learning.losses', 1),
    (upward, 'o1jax/learning/a.py', 'def f():\n  from o1jax.search import expand', 1),
    (upward, 'o1jax/reward/a.py', 'from o1jax.policy.initialise import a', 1),
    (upward, 'o1jax/data/a.py', 'from o1jax.tasks import countdown', 0),
    (upward, 'o1jax/tasks/a.py', 'from o1jax.data import readers', 1),
    (upward, 'o1jax/runtime/a.py', 'from o1jax.evaluation import report', 0),
    (upward, 'o1jax/evaluation/a.py', 'from o1jax.runtime import loop', 1),
    (upward, 'o1jax/types.py', 'from o1jax.tree import paths', 1),
    (upward, 'o1jax/fused.py', 'from o1jax.search import a\nfrom o1jax.learning import b', 0),
    (upward, 'o1jax/recipes/a.py', 'from configs import quickstart', 1),
    (intruders, 'o1jax/search/mcts.py', 'import mctx', 0),
    (intruders, 'o1jax/search/beam.py', 'import mctx', 1),
    (intruders, 'o1jax/fused.py', 'from mctx._src import tree', 1),
    (intruders, 'o1jax/runtime/loop.py', 'from ml_collections import ConfigDict', 1),
    (intruders, 'configs/a.py', 'from ml_collections import ConfigDict', 0),
    (intruders, 'o1jax/model/a.py', 'from absl import flags', 1),
    (undocumented, 'a.py', '', 0),
    (undocumented, 'a.py', 'x = 1', 1),
    (undocumented, 'a.py', '"""M."""\ndef f():\n  x = 1\ndef _g():\n  pass\nclass C:\n  y = 1', 2),
    (too_long, 'a.py', 'x = 1\n' * 400, 0),
    (too_long, 'a.py', 'x = 1\n' * 401, 1),
    (too_long, 'a.py', 'def f():\n  """' + 'D\n' * 90 + '"""\n' + '  x = 1\n' * 60, 0),
    (too_long, 'a.py', 'def f():\n' + '  x = 1\n' * 61, 1),
    (logic, 'a.ipynb', 'from a import b\n%matplotlib inline\nx, y = b(1)\nshow(x)', 0),
    (logic, 'a.ipynb', 'def f():\n  pass', 2),
    (logic, 'a.ipynb', 'for i in range(3): f(i)', 1),
  ],
)
def test_each_law_sees_what_it_forbids(law, path, text, count):
  if law is logic:
    text = json.dumps(
      {
        'cells': [
          {'cell_type': 'code', 'source': text},
          {'cell_type': 'markdown', 'source': 'class'},
        ]
      }
    )
  assert len(list(law(path, text))) == count


def test_machine_paths_are_told_from_other_slashes():
  assert all(
    MACHINE_PATHS.search(f'{before}/{name}/x')
    for before in ('', "'", ' ')
    for name in ('work', 'root')
  )
  assert not MACHINE_PATHS.search('value/root, o1jax/work, https://host/home, a mean/root')
