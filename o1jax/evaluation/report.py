"""report/index.html: what a run found, on one page that opens without a server or a network."""

import html
import json
import pathlib

from o1jax.evaluation import curves, figures, page, results, tree_view

CALIBRATION_CAPTION = (
  'Does a state to which the critic gives 0.7 lead to a right answer seven times out of ten? On '
  'the diagonal, yes. '
  'Bars: 95% intervals of the share; they treat states as independent, and states of one problem '
  'are not, so they '
  'are too narrow. Error: expected calibration error, the mean distance from the diagonal.'
)
TREE_CAPTION = (
  'Each row is a step below the step it continues: the path of the answer first, in blue, then the '
  'most visited. '
  'Visits: simulations through the step. Mean return: what they brought back. Critic: P(correct) '
  'seen at the step. '
  '✓ and ✗ are the verdicts on finished solutions. Rest the pointer on a row to read the whole '
  'step.'
)


def build_report(workdir):
  """Writes the report of a run from whatever the run has measured so far.

  Reads from `workdir`: `results.csv`, `config.json`, `versions.json`, and in `report/data/`:
    train_curve.json: list of {"update", "flops", "tokens", "accuracy", "ci_low", "ci_high",
      "method"}; flops and tokens since the start of search-and-learn; one curve a method, e.g.
      'greedy' and 'supervised control'.
    behaviours.json: {stage: {behaviour: share of the samples}}.
    calibration.json: {stage: what `statistics.calibration` returns}.
    fixed.json: list of {"policy", "prompt", "answer": text, '' where the search finished none,
      "verdict": bool}, of the task's fixed problems; most tasks have none.
    tree.json: {"policy": name, "prompt": text, "nodes": DrawnNodes as dicts, "verdict": true, false
      or null, "answer": text}.
  A file that is missing leaves a section that says so and names the stage that writes it.

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
  data = {
    name: _read_json(workdir / 'report' / 'data' / f'{name}.json')
    for name in ('train_curve', 'behaviours', 'calibration', 'fixed', 'tree')
  }
  sections = (
    ('test-time', 'Accuracy against test-time compute', curves.test_time(rows)),
    ('train-time', 'Accuracy against train-time compute', curves.train_time(data['train_curve'])),
    ('behaviours', 'Reasoning behaviours', _behaviours(data['behaviours'])),
    ('calibration', 'Calibration of the critic', _calibration(data['calibration'])),
    ('tree', 'One searched problem', _tree(data['tree'])),
    *([('fixed', 'Fixed problems', _fixed(data['fixed']))] if data['fixed'] else []),
    ('results', 'All results', _results(rows)),
  )
  links = ''.join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
  name = workdir.resolve().name
  body = (
    f'<h1>Run {html.escape(name)}</h1><div class="subtitle">o1jax: policy initialisation, reward, '
    f'search and learning, '
    f'after the roadmap of arXiv:2412.14135</div>{_summary(rows)}<nav>{links}</nav>'
    + ''.join(page.section(*parts) for parts in sections)
    + _footer(_read_json(workdir / 'config.json'), _read_json(workdir / 'versions.json'))
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


def _summary(rows):
  """The headline: what greedy decoding does before and after learning, and what the best fair
  search adds."""
  if not rows:
    return (
      '<p class="lead">This run has not been evaluated yet: '
      '<code>results.csv</code> is missing.</p>'
    )
  summary = results.summarise(rows)
  tasks = dict.fromkeys(row.task for row in summary)
  return ''.join(
    _task_summary(task, [row for row in summary if row.task == task]) for task in tasks
  ) + ('<p class="subtitle">In brackets, 95% intervals. None of these methods sees the answer.</p>')


def _task_summary(task, rows):
  greedy = [row for row in rows if row.method == 'greedy']
  # pass@k picks with the answer in hand, so it is a ceiling and not a result.
  fair = [row for row in rows if row.method not in ('greedy', 'pass@k')]
  parts, tiles = [], []
  if greedy:
    parts.append(
      f'the {greedy[0].stage} policy solves {_percent(greedy[0])} with one greedy solution'
    )
    tiles.append((greedy[0], 'greedy'))
  if len(greedy) > 1:
    gain = 100 * (greedy[-1].accuracy - greedy[0].accuracy)
    words = f'{abs(gain):.1f} points {"more" if gain >= 0 else "less"}'
    parts.append(f'the {greedy[-1].stage} policy {_percent(greedy[-1])}, {words}')
    tiles.append((greedy[-1], f'greedy ({gain:+.1f} points)'))
  if fair:
    best = max(fair, key=lambda row: row.accuracy)
    parts.append(
      f'the best search, {page.method_words(best.method)} on the {best.stage} policy with budget '
      f'{best.budget}, '
      f'{_percent(best)} for {best.tokens:,.0f} tokens a problem'
    )
    tiles.append((best, f'{page.method_words(best.method)}, budget {best.budget}'))
  if not parts:
    return ''
  seeds = f' (mean of {rows[0].seeds} seeds)' if rows[0].seeds > 1 else ''
  text = f'On {rows[0].problems:,} held-out {task} problems{seeds} ' + '; '.join(parts) + '.'
  numbers = [
    (f'{100 * row.accuracy:.1f}%', f'{task}, {row.stage}: {words}') for row, words in tiles
  ]
  return f'<p class="lead">{html.escape(text)}</p>{page.tiles(numbers)}'


def _behaviours(shares):
  if not shares:
    return page.missing('report/data/behaviours.json', 'evaluate')
  drawing = figures.bars_figure(shares, x_label='share of sampled solutions that show it (%)')
  return page.panels(
    [drawing],
    html.escape(
      'Behaviours are counted by their tags in sampled solutions. A behaviour that learning does '
      'not reward may fade; '
      'one that helps to reach right answers should stay or grow.'
    ),
  )


def _calibration(tables):
  if not tables:
    return page.missing('report/data/calibration.json', 'evaluate')
  most = max(max(table['count']) for table in tables.values())
  drawings = [
    figures.reliability_figure(table, title=stage, most=most) for stage, table in tables.items()
  ]
  return page.panels(drawings, html.escape(CALIBRATION_CAPTION))


def _tree(tree):
  if not tree:
    return page.missing('report/data/tree.json', 'evaluate')
  nodes = [tree_view.DrawnNode(**node) for node in tree['nodes']]
  verdict = {
    True: '<span class="right">✓ correct</span>',
    False: '<span class="wrong">✗ wrong</span>',
    None: 'not verified',
  }[tree['verdict']]
  shown = sum(node.visits > 0 for node in nodes[1:])
  return (
    f'<p>Problem:</p><pre>{html.escape(tree["prompt"])}</pre>'
    f'<p>Answer of the search with the {html.escape(tree["policy"])} policy: '
    f'<code>{html.escape(str(tree["answer"]))}</code> — {verdict}</p>'
    f'<div class="scroll">{tree_view.tree_svg(nodes)}</div><p class="caption">{len(nodes) - 1} '
    f'steps were sampled '
    f'and {shown} visited. {TREE_CAPTION}</p>'
  )


def _fixed(rows):
  cells = [
    (row['policy'], row['prompt'], row['answer'] or '–', '✓' if row['verdict'] else '✗')
    for row in rows
  ]
  return page.table(
    ('policy', 'problem', 'answer of its search', 'verdict'), cells, words=4, group=1
  )


def _results(rows):
  if not rows:
    return page.missing('results.csv', 'evaluate')
  cells = [
    (stage, task, page.method_words(method), *rest)
    for task, stage, method, *rest in results.table_cells(rows)
  ]
  heads = ('stage', 'task', 'method', *results.HEADINGS[3:])
  return page.table(heads, cells, words=3, group=3) + (
    '<p class="caption">Tokens, FLOPs and seconds are means for one problem; seconds are of this '
    'machine and batch. '
    'With several seeds the interval is Student’s over the seeds, with one it is Wilson’s over the '
    'problems.</p>'
  )


def _footer(config, versions):
  parts = []
  for name, content, stage in (
    ('config.json', config, 'initialise'),
    ('versions.json', versions, 'initialise'),
  ):
    if content is None:
      parts.append(f'<p><code>{name}</code> is missing; the {stage} stage writes it.</p>')
      continue
    text = html.escape(json.dumps(content, indent=2, ensure_ascii=False))
    parts.append(f'<details><summary>{name}</summary><pre>{text}</pre></details>')
  known = {
    **(config or {}),
    **(versions[-1] if versions else {}),
  }  # the newest environment comes last
  stamp = ' · '.join(
    f'{key} {value}'
    for key, value in known.items()
    if key in ('revision', 'git_revision', 'git', 'jax', 'flax', 'mctx', 'python', 'seed', 'device')
  )
  return f'<footer><p>{html.escape(stamp)}</p>{"".join(parts)}</footer>'
