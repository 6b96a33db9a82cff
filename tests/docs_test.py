"""What README.md and docs/ name exists: files, modules, commands, flags, settings, tables and words.
Prose is as wide as code."""

import ast
import functools
import importlib
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ('README.md', *sorted(f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md')))
CODE = ('o1jax', 'configs', 'experiments')
CONFIGS = ('quickstart', 'ablation', 'cipher', 'countdown', 'gsm8k', 'mbpp', 'benchmark', 'scaling')
# Words that are not ours: of libraries, of the system, of shells.
OUTSIDE = {
  *('init', 'apply', 'parse', 'eval', 'sympify', 'optimization_barrier', 'generate', 'argmax'),
  *('wait_until_finished', 'check_for_errors', 'SummaryWriter', 'invalid_actions', 'loop_fn'),
  *('prior_logits', 'num_actions', 'random', 'where', 'importlib_resources', 'venv', 'bubblewrap'),
  *('Checkpointer.restore', 'perfetto_trace.json.gz', 'xla_cpu_prefer_vector_width'),
  *(
    'xla_cpu_experimental_ynn_fusion_type',
    'NPROC',
    'PJRT_NPROC',
    'M_ARENA_MAX',
    'GLIBC_TUNABLES',
    'xla_cpu_multi_thread_eigen',
  ),
}
LIBRARIES = {'jax': 'jax', 'jnp': 'jax.numpy', 'sympy': 'sympy', 'mctx': 'mctx'}
FILE = re.compile(r'[\w.-]+(/[\w.-]+)*(\.(py|md|ipynb|sh|toml|json|jsonl|csv|html|model|gz)|/)')
DOTTED = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)+')
WORD = re.compile(r'[A-Za-z_]\w+')
SETTING = re.compile(r'(?<![\w.])(?:--)?config((?:\.\w+)+)')
COMMAND = re.compile(r'python3? -m ((?:experiments|o1jax|tests)[\w.]*)(.*)')
FLAG = re.compile(r'(?<=\s)--([a-z]\w*)(?=[=\s\]]|$)')
EXTRAS = re.compile(r"'\.\[([\w,]+)\]'")
COMMIT = re.compile(r'[0-9a-f]{7}')


def spans(page):
  """The inline code of a page, without its fenced blocks."""
  text = re.sub(r'^```.*?^```', '', page, flags=re.S | re.M)
  return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', text)]


def blocks(page):
  """The fenced blocks of a page, continued lines being one."""
  return [
    block.replace('\\\n', ' ') for block in re.findall(r'^```\w*\n(.*?)^```', page, re.S | re.M)
  ]


@functools.cache
def trees():
  """path -> parsed source of all code."""
  files = [path for folder in CODE for path in sorted((ROOT / folder).rglob('*.py'))]
  return {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text(encoding='utf-8')) for p in files}


@functools.cache
def texts():
  """The text constants of the code that are no docstrings."""
  found = set()
  for tree in trees().values():
    docs = {
      id(node.body[0].value)
      for node in ast.walk(tree)
      if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    }
    found |= {
      node.value
      for node in ast.walk(tree)
      if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }
  return found


@functools.cache
def words():
  """The identifiers of the code, those in its texts included."""
  found = {'o1jax'}.union(*(path.removesuffix('.py').split('/') for path in trees()))
  for tree in trees().values():
    for node in ast.walk(tree):
      found |= {getattr(node, name, None) for name in ('id', 'attr', 'arg', 'name')} - {None}
  return found.union(*(re.findall(r'\w+', text) for text in texts()))


@functools.cache
def settings():
  """All dotted settings of all configs, sections included."""
  found = set()

  def walk(config, before):
    for name, value in config.items():
      found.add(before + name)
      if hasattr(value, 'items'):
        walk(value, f'{before}{name}.')

  for name in CONFIGS:
    module = importlib.import_module(f'configs.{name}')
    walk(module.get_config(), '')
  return found


def resolves(parts, module):
  """Whether names lead from a module to something."""
  thing = module
  for n, part in enumerate(parts):
    if not hasattr(thing, part) and part not in getattr(thing, '__annotations__', {}):
      try:
        thing = importlib.import_module(f'{thing.__name__}.{part}')
      except (AttributeError, ImportError):
        return False
      continue
    thing = getattr(thing, part, None)
    if thing is None:
      return n == len(parts) - 1
  return True


def is_there(name):
  """Whether a dotted name leads somewhere: from the root, or from a module or class of ours."""
  first, *rest = name.split('.')
  if first in LIBRARIES:
    return resolves(rest, importlib.import_module(LIBRARIES[first]))
  if first in CODE:
    return resolves(rest, importlib.import_module(first))
  for path, tree in trees().items():
    *folders, file = path.removesuffix('.py').split('/')
    dotted = '.'.join(folders if file == '__init__' else [*folders, file])
    if dotted.endswith(f'.{first}') and resolves(rest, importlib.import_module(dotted)):
      return True
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    if first in classes and resolves([first, *rest], importlib.import_module(dotted)):
      return True
  return False


@functools.cache
def made():
  """Names of files and folders that runs write: texts of the code, whole or between slashes."""
  return {part for text in texts() for part in text.strip('/').split('/')}


def located(path):
  """A file or folder of the tree: of the root, of o1jax, or anywhere in it by its bare name."""
  for base in (ROOT, ROOT / 'o1jax'):
    if (base / path).exists():
      return base / path
  return next((ROOT / 'o1jax').rglob(path), None) if '/' not in path else None


def missing_files(page):
  """Files and folders that are neither in the tree nor written by a run, and what is named in a file
  and is not there. Capitals stand for any name."""
  for span in spans(page):
    path, _, inside = span.partition(':')
    if not FILE.fullmatch(path) or path in OUTSIDE:
      continue
    path = path.strip('/')
    here = located(path)
    if here is None:
      parts = path.removeprefix('runs/quickstart').split('/')
      if not all(part in made() or part.isupper() or not part for part in parts):
        yield span
    elif inside and path.startswith('configs/'):
      module = importlib.import_module(path.removesuffix('.py').replace('/', '.'))
      try:
        module.get_config(inside)
      except ValueError:
        yield span
    elif inside and inside not in {
      getattr(node, 'name', '') for node in ast.parse(here.read_text(encoding='utf-8')).body
    }:
      yield span


def missing_names(page):
  """Dotted names that lead nowhere."""
  for span in spans(page):
    name = re.sub(r'[\[(].*', '', span)
    if (
      DOTTED.fullmatch(name)
      and not FILE.fullmatch(span)
      and not name.startswith('config.')
      and name not in OUTSIDE
    ):
      first, last = name.split('.')[0], name.split('.')[-1]
      section = first == 'section' and any(key.endswith(f'.{last}') for key in settings())
      if not section and not is_there(name):
        yield span


def missing_settings(page):
  """Settings that no config has. `config.a.b` stands for any."""
  for dotted in SETTING.findall('\n'.join([*spans(page), *blocks(page)])):
    if dotted[1:] not in settings() | {'a.b', 'json', 'py'}:
      yield f'config{dotted}'


def missing_commands(page):
  """Modules that are not there, flags that they do not define, extras that setup.py does not."""
  text = '\n'.join([*spans(page), *blocks(page)])
  for module, rest in COMMAND.findall(text):
    spec = importlib.util.find_spec(module)
    if spec is None:
      yield module
      continue
    main = (
      importlib.util.find_spec(f'{module}.__main__') if spec.submodule_search_locations else spec
    )
    defined = pathlib.Path(main.origin).read_text() + (ROOT / 'experiments/door.py').read_text()
    for flag in FLAG.findall(rest):
      if f"'{flag}'" not in defined and f"'--{flag}'" not in defined:
        yield f'{module} --{flag}'
  setup = (ROOT / 'setup.py').read_text()
  for extra in ','.join(EXTRAS.findall(text)).split(','):
    if extra and f"'{extra}': " not in setup:
      yield f'[{extra}]'


def missing_words(page):
  """Words in code style that the code does not know; `name_*` is any word that begins so."""
  for span in spans(page):
    word = re.sub(r'=.*', '', span).removeprefix('--')
    if COMMIT.fullmatch(word) or FILE.fullmatch(span):
      continue
    if re.fullmatch(r'\*?[a-z_]+\*?', word) and '*' in word:
      part = word.strip('*')
      if not any(part in known for known in words() if known):
        yield span
    elif WORD.fullmatch(word) and word not in words() | OUTSIDE:
      yield span


def drawn(page):
  """The folders and modules in the drawing of the house, the block that begins with `o1jax/`."""
  (house,) = (block for block in blocks(page) if block.startswith('o1jax/'))
  return {name.removesuffix('/') for name in re.findall(r'[a-z_]\w*(?:/|\.py)', house)}


def too_wide(page):
  """Lines of prose beyond 100 columns. A row of a table is one line, and a command may be."""
  text = re.sub(r'^```.*?^```', '', page, flags=re.S | re.M)
  return [line for line in text.splitlines() if len(line) > 100 and not line.startswith('|')]


def contents():
  """The table of contents: the docstring of o1jax."""
  return ast.get_docstring(ast.parse((ROOT / 'o1jax/__init__.py').read_text(encoding='utf-8')))


def offenders(law):
  return [f'{name}: {found}' for name in PAGES for found in law((ROOT / name).read_text())]


LAWS = [missing_files, missing_names, missing_settings, missing_commands, missing_words]


@pytest.mark.parametrize('law', LAWS)
def test_what_the_docs_name_exists(law):
  assert offenders(law) == []


def test_the_house_is_drawn_as_it_stands():
  top = {
    path.name
    for path in (ROOT / 'o1jax').iterdir()
    if (path / '__init__.py').exists() or path.suffix == '.py' and path.stem != '__init__'
  }
  names = drawn((ROOT / 'docs/DESIGN.md').read_text())
  assert (
    top - names == set()
    and {name for name in names if not [*(ROOT / 'o1jax').rglob(name), *ROOT.glob(name)]} == set()
  )


@pytest.mark.parametrize(
  'name', [*PAGES, 'experiments/LOG.md', 'experiments/launch/README.md'], ids=str
)
def test_prose_has_the_width_of_the_code(name):
  assert too_wide((ROOT / name).read_text()) == []


@pytest.mark.parametrize('law', LAWS)
def test_what_the_table_of_contents_names_exists(law):
  assert [*law(contents())] == []


def test_the_table_of_contents_has_every_floor_and_its_imports_run():
  floors = {path.stem for path in (ROOT / 'o1jax').iterdir() if path.name[0] not in '_.'}
  assert floors <= set(re.findall(r'\w+', contents().partition('The floors')[2]))
  imports = re.findall(r'^    (from o1jax.* import .*)$', contents(), re.M)
  assert imports
  exec('\n'.join(imports), {})


@pytest.mark.parametrize(
  'law, text, count',
  [
    (missing_files, '`o1jax/types.py`, `search/`, `mcts.py`, `configs/quickstart.py:smoke`', 0),
    (missing_files, '`results.csv`, `model/forward.py:forward_tree`', 0),
    (missing_files, '`o1jax/training/`, `nothing.py`, `configs/quickstart.py:smok`, `a.csv`', 4),
    (missing_files, '`model/forward.py:backward_tree`', 1),
    (missing_names, '`o1jax.types.Tree`, `tree.pick`, `Tree.path[x]`, `jax.set_mesh`', 0),
    (missing_names, '`o1jax.types.Bush`, `tree.prune`, `Tree.bark`, `jax.set_mess`', 4),
    (missing_settings, '`--config.learn.updates=3`\n```\nx --config.a.b=1\n```', 0),
    (missing_settings, '`config.learn.updatez`\n```\nx \\\n  --config.lern.updates=1\n```', 2),
    (missing_commands, "`python -m experiments.o1 --workdir=DIR` `pip install -e '.[hf,math]'`", 0),
    (missing_commands, "`python -m experiments.o2` `pip install -e '.[hf,maths]'`", 2),
    (missing_commands, '```\npython -m experiments.o1 --workdirs=DIR\n```', 1),
    (missing_words, '`Tree`, `updates_per_call`, `search_*`, `402856c`, `skip_bad=True`', 0),
    (missing_words, '`Bush`, `updates_a_call`, `sea_rch_*`, `skip_good=True`', 4),
    (too_wide, '\n'.join(['x' * 100, '|' + 'x' * 100, '```', 'x' * 101, '```']), 0),
    (too_wide, 'x' * 101, 1),
  ],
)
def test_each_law_sees_what_is_not_there(law, text, count):
  assert len(list(law(text))) == count, list(law(text))
