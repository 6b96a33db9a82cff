"""report/index.html: what a run found, on one page that opens without a server or a network."""

import html
import json
import pathlib

from o1jax.evaluation import compare, curves, figures, page, results, tree_view
from o1jax.evaluation.methods import BASELINE, GREEDY, method
from o1jax.evaluation.problems import FILE, read_problems

SETS = (
  'Two sets of problems are kept apart. Validation problems steer the run, such as when cloning '
  'ends. Test problems are only measured.'
)
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
  rows = results.read_results(table) if table.exists() else []
  answers = read_problems(workdir / FILE) if (workdir / FILE).exists() else None
  data = {
    name: _read_json(workdir / 'report' / 'data' / f'{name}.json')
    for name in ('train_curve', 'behaviours', 'calibration', 'fixed', 'tree')
  }
  config = _read_json(workdir / 'config.json')
  sections = (
    ('results', 'Test problems: all results', _results(rows, answers)),
    ('test-time', 'Test problems: accuracy against test-time compute', curves.test_time(rows)),
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
  body = (
    f'<h1>Run {html.escape(name)}</h1><div class="subtitle">o1jax: policy initialisation, reward, '
    f'search and learning, '
    f'after the roadmap of arXiv:2412.14135</div>{_summary(rows, answers, config)}'
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


def _percent(row):
  return f'{100 * row.accuracy:.1f}% ({100 * row.ci_low:.1f} to {100 * row.ci_high:.1f})'


def _points(pair):
  """The lead of the first of a pair, in points with its interval."""
  interval = pair.difference and (
    f' ({100 * pair.difference.low:+.1f} to {100 * pair.difference.high:+.1f})'
  )
  return f'{100 * pair.gain:+.1f}{interval or ""}'


def _summary(rows, answers, config):
  """The headline: greedy decoding before and after learning, and search at equal tokens."""
  if not rows:
    return (
      '<p class="lead">This run has not been evaluated yet: '
      '<code>results.csv</code> is missing.</p>'
    )
  summary = results.summarise(rows)
  tasks = dict.fromkeys(row.task for row in summary)
  return ''.join(
    _task_summary(task, [row for row in summary if row.task == task], answers) for task in tasks
  ) + (
    f'<p class="subtitle">In brackets, 95% intervals. None of these methods sees the answer. '
    f'{SETS}</p>' + _policies(list(dict.fromkeys(row.stage for row in summary)), config or {})
  )


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


def _task_summary(task, rows, answers):
  greedy = [row for row in rows if row.method == GREEDY]
  parts, tiles = [], []
  if greedy:
    parts.append(
      f'the {greedy[0].stage} policy solves {_percent(greedy[0])} with one greedy solution'
    )
    tiles.append((greedy[0], 'one greedy solution'))
  for row in greedy[1:]:
    gain = 100 * (row.accuracy - greedy[0].accuracy)
    words = f'{abs(gain):.1f} points {"more" if gain >= 0 else "less"}'
    parts.append(f'the {row.stage} policy {_percent(row)}, {words}')
    tiles.append((row, f'one greedy solution ({gain:+.1f} points)'))
  for pair in compare.equal_tokens(rows, answers):
    if method(pair.row.method).tree:
      parts.append(
        f'at about equal tokens, {_measured(pair.base)} solves {_percent(pair.base)} and '
        f'{_measured(pair.row)} {_percent(pair.row)}, both with the {pair.row.stage} policy'
      )
      tiles += [(row, _measured(row)) for row in (pair.base, pair.row)]
  if not parts:
    return ''
  seeds = f' (mean of {rows[0].seeds} seeds)' if rows[0].seeds > 1 else ''
  text = f'On {rows[0].problems:,} {task} test problems{seeds} ' + '; '.join(parts) + '.'
  numbers = [
    (f'{100 * row.accuracy:.1f}%', f'{task}, {row.stage}: {words}') for row, words in tiles
  ]
  return f'<p class="lead">{html.escape(text)}</p>{page.tiles(numbers)}'


def _measured(row):
  """A method with its units and its cost."""
  shown = method(row.method)
  return f'{shown.words}, {results.number(row.units)} {shown.unit} ({row.tokens:,.0f} tokens)'


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


def _results(rows, answers):
  if not rows:
    return page.missing('results.csv', page.MEASURING)
  parts = []
  for (task, stage), mine in results.tables(rows).items():
    heads, cells = results.table_cells(mine, lambda name: method(name).words)
    parts.append(f'<h3>{html.escape(f"{task}, {stage} policy")}</h3>')
    parts.append(page.table(heads, cells, words=(1,), group=1))
  parts.append(
    '<p class="caption">Tokens (sampled, pruned branches included), FLOPs and seconds are means '
    'for one problem; seconds are of this machine and batch. Units are solutions or simulations. '
    'Asked: how many tokens on average, and the units are those that spend about as many; empty '
    'where units were asked. A line sets off each number of tokens. '
    'With several seeds the interval is Student’s over the seeds, with one it is Wilson’s over the '
    f'problems. <code>{FILE}</code> has every answer.</p>'
  )
  return ''.join(parts) + _comparisons(rows, answers)


def _comparisons(rows, answers):
  summary = results.summarise(rows)
  cells = []
  for task in dict.fromkeys(row.task for row in summary):
    mine = [row for row in summary if row.task == task]
    for pair in compare.learned_gains(mine, answers):
      words = f'{pair.row.stage} against {pair.base.stage}, greedy'
      cells.append((_points(pair), words, *_tokens(pair), task))
    for pair in compare.equal_tokens(mine, answers):
      words = f'{_name(pair.row)} against {_name(pair.base)}, {pair.row.stage}'
      cells.append((_points(pair), words, *_tokens(pair), task))
  if not cells:
    return ''
  heads = ('points', 'what', 'tokens', 'against', 'task')
  return (
    '<h3>Side by side on the same problems</h3>'
    + page.table(heads, cells, words=(1, 4))
    + '<p class="caption">Points of accuracy, with the 95% interval of the paired difference where '
    f'<code>{FILE}</code> has the answers of both. Each method at its largest budget stands '
    f'against the {html.escape(method(BASELINE).words)} that spends about as many tokens.</p>'
  )


def _name(row):
  return f'{method(row.method).words} ({results.number(row.units)})'


def _tokens(pair):
  return f'{pair.row.tokens:,.0f}', f'{pair.base.tokens:,.0f}'


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
