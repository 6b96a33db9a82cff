"""Made-up evidence, of which it is known what a judge has to say."""

import dataclasses

import numpy as np

from o1jax.evaluation.measured import Measured
from o1jax.evaluation.problems import COLUMNS
from o1jax.evaluation.results import Result
from o1jax.evaluation.splits import TEST, task_of
from o1jax.evaluation.studies import Arm, Evidence


def shares(count, share, rng=0):
  """[count] answers of which a share is right, which ones by chance."""
  return np.random.default_rng(rng).permutation(np.arange(count) < round(share * count)) * 1.0


def measure(label, tokens, right, *, seed=0, split=TEST, clusters=0, flops=None, rate=None):
  """A measurement of N problems; `clusters`: of them, each problem is one where it is 0."""
  count = len(right)
  flops = 1e6 * tokens if flops is None else flops
  row = Result(
    *('start', task_of('toy', split), label, int(tokens), int(tokens), float(tokens), flops),
    *(float(right.mean()), 0.0, 1.0, count, seed, 0.1),
  )
  cluster = np.array([f'{i % (clusters or count)}' for i in range(count)], object)
  return Measured(row, right.astype(float), cluster, right if rate is None else rate)


def evidence(arms, found, *, samples=10, score=None, **columns):
  """Of arms {name: (labels, tree, flips)}, with a table of what was found."""
  parts = []
  for one in found:
    count = len(one.right)
    told = dataclasses.asdict(one.row) | dict(
      problem=np.arange(count),
      prompt=[f'{one.row.task} {one.row.seed} {i}' for i in range(count)],
      cluster=one.cluster,
      answer=[''] * count,
      correct=one.right > 0,
      judged=~np.isnan(one.right),
      score=one.rate if score is None else score[one.row.method, one.row.task],
      finished=np.ones(count, bool),
      samples=np.full(count, samples),
      right=np.round(samples * one.rate).astype(int),
      late=np.zeros(count),
    )
    parts.append({name: np.broadcast_to(np.array(told[name]), count) for name in COLUMNS})
  table = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
  return Evidence(tuple(Arm(name, *arm) for name, arm in arms.items()), found, table | columns)
