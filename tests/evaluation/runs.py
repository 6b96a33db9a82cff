"""A small run as its files are, and how a page of it is read."""

import dataclasses
import json
import re

import numpy as np

from o1jax.evaluation import results, statistics, tree_view
from o1jax.evaluation.accuracy import Answers, Readout, Verdicts
from o1jax.evaluation.problems import FILE, append_problems, problem_rows
from o1jax.search import Budget
from o1jax.types import Problem

EVIL = '<script>alert(1)</script>'


def measured():
  """Rows of results.csv."""
  rows = []
  for stage, base in (('initialised', 0.2), ('learned', 0.3)):
    for method, budgets in (
      ('greedy', [1]),
      ('weighted', [1, 4, 16]),
      ('pass@k', [1, 4, 16]),
      (EVIL, [2, 8]),
    ):
      for budget in budgets:
        accuracy = base + 0.05 * np.log2(budget) + 0.1 * (method == 'pass@k')
        low, high = statistics.wilson_interval(500 * accuracy, 500)
        spent = (50.0 * budget, 5e7 * budget)
        rows.append(
          results.Result(
            stage, 'countdown', method, 0, budget, *spent, accuracy, low, high, 500, 0, 0.1
          )
        )
  rows.append(
    results.Result(
      *('learned', 'countdown', 'gumbel', 0, 64, 820.0, 8.2e8, 0.4, 0.36, 0.44, 500, 0, 0.2)
    )
  )
  rows.append(
    results.Result(
      *('learned', 'countdown', 'majority', 0, 16, 800.0, 8e8, 0.45, 0.41, 0.49, 500, 0, 0.1)
    )
  )
  return rows


def answered():
  """Answers by problem of the searches that stand against each other: 200 and 225 of 500 right, of
  clusters of 5."""
  asked = [Problem(f'{i}', cluster=f'{i % 100}') for i in range(500)]
  rng, parts = np.random.default_rng(0), []
  for name, units, right in (('gumbel', 64, 200), ('majority', 16, 225)):
    readout = Readout(name, 'weighted', Budget(0, units))
    verdict = rng.permutation(np.arange(500) < right).astype(float)
    answers = {readout: Answers(np.ones(500), verdict, ['x'] * 500)}
    verdicts = Verdicts(answers, *[np.ones(500)] * 10, None, None)
    tell = dict(stage='learned', task='countdown', seed=0)
    parts.append(problem_rows(readout, verdicts, asked, **tell))
  return parts


def write_run(folder):
  data = folder / 'report' / 'data'
  data.mkdir(parents=True)
  results.append_results(folder / 'results.csv', measured())
  append_problems(folder / FILE, answered())
  curve = [
    dict(
      update=u,
      flops=1e9 * u,
      tokens=1.0 * u,
      accuracy=0.2 + 0.01 * u,
      ci_low=0.1,
      ci_high=0.5,
      method=method,
      stage=stage,
    )
    for stage, method in (('learn', 'greedy'), ('control', 'supervised control'))
    for u in (0, 1, 4, 16)
  ]
  shares = {'initialised': {'analysis': 0.5, EVIL: 0.1}, 'learned': {'analysis': 0.7}}
  scores = np.linspace(0, 0.7, 50)
  finished = np.arange(50) % 2 == 0
  states = statistics.calibration_of_states(scores, scores > 0.4, np.arange(50) % 3, finished)
  nodes = [
    tree_view.DrawnNode(0, -1, 'prompt', 1, 0.5, 1.0, False, None, True),
    tree_view.DrawnNode(1, 0, EVIL, 1, 0.5, 1.0, True, True, True),
  ]
  drawn = [dataclasses.asdict(node) for node in nodes]
  tree = [
    dict(policy='learned', picked=f'the {EVIL}', prompt=EVIL, nodes=drawn, verdict=v, answer=EVIL)
    for v in (True, False)
  ]
  tree[1].update(method='gumbel', units=23, asked=800, tokens=1012.0)
  calibration = {'learned': states, EVIL: states}
  fixed = [
    dict(policy=EVIL, prompt=EVIL, answer=EVIL, verdict=True),
    dict(policy='b', prompt='p', answer='', verdict=False),
  ]
  files = dict(
    train_curve=curve, behaviours=shares, calibration=calibration, tree=tree, fixed=fixed
  )
  for name, content in files.items():
    (data / f'{name}.json').write_text(json.dumps(content))
  (folder / 'config.json').write_text(json.dumps({'seed': 3, 'name': EVIL}))
  (folder / 'versions.json').write_text(
    json.dumps([{'git_revision': 'older00'}, {'git_revision': 'abc1234'}])
  )
  return folder


def section(text, name):
  return re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL).group()


def paired(one, other):
  """The lead of one table of answers over another, as the report says it."""
  apart = one['correct'] * 1.0 - other['correct']
  low, high = statistics.mean_interval(apart, clusters=one['cluster'])
  return f'{100 * apart.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})'


def cells(part):
  """The rows of the tables of a part of a page."""
  return [
    tuple(re.findall('<td[^>]*>(.*?)</td>', row)) for row in re.findall('<tr[^>]*>(.*?)</tr>', part)
  ]
