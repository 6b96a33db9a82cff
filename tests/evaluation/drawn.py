"""Drawn measurements of a toy, by problem, and the table that holds them."""

import dataclasses

import numpy as np

from o1jax.evaluation.measured import Measured
from o1jax.evaluation.problems import COLUMNS
from o1jax.evaluation.results import Result

COUNT = 60


def one(method, tokens, share=0.5, *, seed=0, budget=None, flops=None, rng=0, cluster=None):
  """A measurement with drawn answers; FLOPs in proportion to the tokens unless said."""
  draws = np.random.default_rng([rng, seed, int(tokens)])
  right = (draws.random(COUNT) < share).astype(float)
  budget = tokens if budget is None else budget
  cluster = np.array([f'{i % 12}' for i in range(COUNT)], object) if cluster is None else cluster
  flops = 1e6 * tokens if flops is None else flops
  row = Result(
    *('initialised', 'toy', method, budget, int(tokens), float(tokens), flops, right.mean()),
    *(0.0, 1.0, COUNT, seed, 0.1),
  )
  return Measured(row, right, cluster, np.clip(right - 0.3 * draws.random(COUNT), 0, 1))


def chains(seed=0, methods=('majority', 'weighted')):
  return [
    one(name, tokens, 0.3 + 0.1 * i, seed=seed, rng=k)
    for k, name in enumerate(methods)
    for i, tokens in enumerate((100, 200, 400))
  ]


def table_of(found):
  """The table and the rows of measurements."""
  parts = []
  for each in found:
    told = dataclasses.asdict(each.row) | dict(
      problem=np.arange(COUNT),
      prompt=[f'{each.row.seed} {i}' for i in range(COUNT)],
      cluster=each.cluster,
      answer=[''] * COUNT,
      correct=each.right > 0,
      judged=~np.isnan(each.right),
      score=each.rate,
      finished=np.ones(COUNT, bool),
      samples=np.full(COUNT, 10),
      right=np.round(10 * each.rate).astype(int),
      late=np.zeros(COUNT),
    )
    parts.append({name: np.broadcast_to(np.array(told[name]), COUNT) for name in COLUMNS})
  table = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
  return [each.row for each in found], table
