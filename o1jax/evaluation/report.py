"""report/index.html: what a run found, on one page that opens without a server or a network."""

import html
import json
import pathlib

from o1jax.evaluation import (
  compute_page,
  curves,
  figures,
  findings,
  page,
  results,
  tree_view,
)
from o1jax.evaluation.measured import clustered
from o1jax.evaluation.methods import method
from o1jax.evaluation.problems import FILE, read_problems
from o1jax.evaluation.splits import of_test

CALIBRATION_CAPTION = (
  'Does a state to which the critic gives 0.7 lead to a right answer seven times out of ten? On '
  'the diagonal, yes. The states are those of the solutions sampled for the test problems. A '
  'finished solution shows all of its work; a prefix shows its first steps, and is right if the '
  'solution that was sampled from it is. Bars: 95% intervals of the share; they treat states as '
  'independent, and states of one problem are not, so they are too narrow. Error: expected '
  'calibration error, the mean distance from the diagonal.'
)
TREE_CAPTION = (
  'Each row is a step below the step it continues: the path of the answer first, in blue, then '
  'the most visited. Visits: simulations through the step. Mean return: what they brought back. '
  'Critic: P(correct) seen at the step. ✓ and ✗ are the verdicts on finished solutions. Rest the '
  'pointer on a row to read the whole step.'
)


def build_report(workdir):
  """Writes the report of a run from whatever the run has measured so far.

  Reads from `workdir`: `results.csv`, `problems.csv.gz`, `config.json`, `versions.json`, and in
  `report/data/`:
    train_curve.json: list of {"stage", "update", "flops", "tokens", "accuracy", "ci_low",
      "ci_high", "method"}, on validation problems; flops and tokens since the start of the stage;
      one curve a stage.
    behaviours.json: {policy: {behaviour: share of the samples}}.
    calibration.json: {policy: what `statistics.calibration_of_states` returns}.
    fixed.json: list of {"policy", "prompt", "answer": text, '' where the search finished none,
      "verdict": bool}, of the task's fixed problems; most tasks have none.
    tree.json: list of {"policy": name, "method", "units": of its search, "asked": tokens on
      average, 0 = asked in units, "tokens": spent on this problem, "picked": how the problem was
      picked, "prompt": text, "nodes": DrawnNodes as dicts, "verdict": true, false or null,
      "answer": text}.
  A file that is missing leaves a section that says so and says what the stage that writes it does.

  Args:
    workdir: folder of the run.

  Returns:
    pathlib.Path of report/index.html.

  Raises:
    FileNotFoundError: there is no such folder.
    ValueError: a file is there and cannot be read; the message names it.
  """
  workdir = pathlib.Path(workdir)
  if not workdir.is_dir():
    raise FileNotFoundError(f'no run at {workdir}: pass the --workdir of a run')
  table = workdir / 'results.csv'
  answers = read_problems(workdir / FILE) if (workdir / FILE).exists() else None
  rows = results.read_results(table) if table.exists() else []
  rows = clustered(of_test(rows), answers)
  data = {
    name: _read_json(workdir / 'report' / 'data' / f'{name}.json')
    for name in ('train_curve', 'behaviours', 'calibration', 'fixed', 'tree')
  }
  config = _read_json(workdir / 'config.json')
  sections = (
    ('results', 'Test problems: all results', findings.all_results(rows, answers)),
    (compute_page.NAME, compute_page.TITLE, compute_page.equal_compute(rows, answers)),
    (
      'train-time',
      'Validation problems: accuracy against train-time compute',
      curves.train_time(data['train_curve'], (config or {}).get('stages', ())),
    ),
    ('behaviours', 'Validation problems: reasoning behaviours', _behaviours(data['behaviours'])),
    ('calibration', 'Test problems: calibration of the critic', _calibration(data['calibration'])),
    ('tree', 'Test problems: two searches', _trees(data['tree'])),
    *([('fixed', 'Fixed problems', _fixed(data['fixed']))] if data['fixed'] else []),
  )
  links = ''.join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
  name = workdir.resolve().name
  policies = _policies(list(dict.fromkeys(row.stage for row in rows)), config or {})
  body = (
    f'<h1>Run {html.escape(name)}</h1><div class="subtitle">o1jax: policy initialisation, reward, '
    f'search and learning, '
    f'after the roadmap of arXiv:2412.14135</div>{findings.headline(rows, answers)}{policies}'
    f'<nav>{links}</nav>'
    + ''.join(page.section(*parts) for parts in sections)
    + _footer(config, _read_json(workdir / 'versions.json'))
  )
  path = workdir / 'report' / 'index.html'
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(page.document(f'o1jax run {name}', body), encoding='utf-8')
  return path


def _read_json(path):
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except json.JSONDecodeError as error:
    raise ValueError(
      f'{path} is not JSON ({error}): delete it and run the stage that writes it again'
    ) from error


def _policies(names, config):
  """Which stage made each policy, by the config: its kind, and the stage that it started from."""
  sections = [section for section in config.values() if isinstance(section, dict)]
  told, policies = [], next((s['policies'] for s in sections if 'policies' in s), {})
  for name in names:
    stages = policies.get(name, {}).get('stages', ())
    # Of several, the first that the job has run is the one measured.
    stage = next((s for s in stages if s in config.get('stages', ())), next(iter(stages), None))
    if stage:
      section = config.get(stage, {})
      words = [section['kind']] if section.get('kind', stage) != stage else []
      words += [f'from {section["start"]}'] if section.get('start') else []
      told.append(f'{name} after {stage}' + (f' ({", ".join(words)})' if words else ''))
  text = f'Each policy is what a stage left: {"; ".join(told)}.'
  return f'<p class="subtitle">{html.escape(text)}</p>' if told else ''


def _behaviours(shares):
  if not shares:
    return page.missing('report/data/behaviours.json', page.MEASURING)
  drawing = figures.bars_figure(shares, x_label='share of sampled solutions that show it (%)')
  return page.panels(
    [drawing],
    html.escape(
      'Behaviours are counted by their tags in one solution sampled for each validation problem. A '
      'behaviour that learning does not reward may fade; one that helps to reach right answers '
      'should stay or grow.'
    ),
  )


def _calibration(tables):
  if not tables:
    return page.missing('report/data/calibration.json', page.MEASURING)
  # An older run kept only the table of finished solutions.
  tables = {
    policy: dict(finished=found, prefixes=None, depths=[]) if 'low' in found else found
    for policy, found in tables.items()
  }
  words = {'finished': 'finished solutions', 'prefixes': 'prefixes'}
  drawings = []
  for kind, name in words.items():
    shown = {policy: found[kind] for policy, found in tables.items() if found[kind]}
    most = max((max(table['count']) for table in shown.values()), default=0)
    drawings += [
      figures.reliability_figure(table, title=f'{policy}, {name}', most=most)
      for policy, table in shown.items()
    ]
  cells = [
    (str(row['depth']), f'{row["states"]:,}', f'{row["score"]:.3f}', f'{row["accuracy"]:.3f}')
    + (f'{row["error"]:.3f}', policy)
    for policy, found in tables.items()
    for row in found['depths']
  ]
  heads = ('steps so far', 'prefixes', 'critic’s mean', 'share right', 'error', 'policy')
  depths = page.table(heads, cells, words=(5,)) if cells else ''
  return page.panels(drawings, html.escape(CALIBRATION_CAPTION)) + depths


def _trees(trees):
  if not trees:
    return page.missing('report/data/tree.json', page.MEASURING)
  # An older run kept one tree, of a problem that its search had solved.
  trees = [trees] if isinstance(trees, dict) else trees
  return ''.join(_tree(tree) for tree in trees) + f'<p class="caption">{TREE_CAPTION}</p>'


def _tree(tree):
  nodes = [tree_view.DrawnNode(**node) for node in tree['nodes']]
  verdict = {
    True: '<span class="right">✓ right</span>',
    False: '<span class="wrong">✗ wrong</span>',
    None: 'not judged',
  }[tree['verdict']]
  shown = sum(node.visits > 0 for node in nodes[1:])
  picked = tree.get('picked', 'one of the first test problems, picked among those solved')
  return (
    f'<p>This is {html.escape(picked)}:</p><pre>{html.escape(tree["prompt"])}</pre>'
    f'<p>Answer of {_search_of(tree)} with the {html.escape(tree["policy"])} policy: '
    f'<code>{html.escape(str(tree["answer"]) or "none")}</code> — {verdict}. {_spent(tree)}'
    f'{len(nodes) - 1} steps were sampled and {shown} visited.</p>'
    f'<div class="scroll">{tree_view.tree_svg(nodes)}</div>'
  )


def _search_of(tree):
  if 'method' not in tree:  # of an older run
    return 'the search'
  shown = method(tree['method'])
  return html.escape(f'{shown.words} ({tree["units"]:,} {shown.unit})')


def _spent(tree):
  if 'tokens' not in tree:
    return ''
  asked = f', where {tree["asked"]:,} were asked on average' if tree['asked'] else ''
  return f'It spent {tree["tokens"]:,.0f} tokens{asked}. '


def _fixed(rows):
  cells = [
    (row['policy'], row['prompt'], row['answer'] or '–', '✓' if row['verdict'] else '✗')
    for row in rows
  ]
  return page.table(
    ('policy', 'problem', 'answer of its search', 'verdict'), cells, words=range(4), group=1
  )


def _footer(config, versions):
  parts = []
  for name, content in (('config.json', config), ('versions.json', versions)):
    if content is None:
      parts.append(f'<p><code>{name}</code> is missing; a job writes it as it begins.</p>')
      continue
    text = html.escape(json.dumps(content, indent=2, ensure_ascii=False))
    parts.append(f'<details><summary>{name}</summary><pre>{text}</pre></details>')
  # The newest environment comes last.
  known = {
    **(config or {}),
    **(versions[-1] if versions else {}),
  }
  stamp = ' · '.join(
    f'{key} {value}'
    for key, value in known.items()
    if key in ('revision', 'git_revision', 'git', 'jax', 'flax', 'mctx', 'python', 'seed', 'device')
  )
  return f'<footer><p>{html.escape(stamp)}</p>{"".join(parts)}</footer>'
