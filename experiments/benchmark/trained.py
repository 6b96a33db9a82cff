"""How fast search is for a trained policy, whose steps close early and whose problems are those of
its task."""

import functools
import pathlib

import jax
import jax.numpy as jnp

from experiments.benchmark.timing import Limit, Row, beside, row, share_row
from o1jax.keys import of_problems
from o1jax.model.compute import search_cost
from o1jax.recipes.build import test_search
from o1jax.recipes.looking import load_run
from o1jax.recipes.searches import CHAINS, Search, row_of
from o1jax.recipes.spending import answer_units, read_spending
from o1jax.runtime.config import require
from o1jax.runtime.mesh import build_mesh, problem_sharding, replicated, sharded_search


def trained_rows(
  workdir: str | pathlib.Path, limits: dict[str, Limit], *, samples: int, repeats: int
) -> list[Row]:
  """The job's own tree search and best-of-N of `samples`, by its newest policy, over its test
  problems.

  Args:
    workdir: of a finished `experiments.o1` job.
    limits: GFLOP/s of the types that a model may compute in.
    samples: N.
    repeats: timed searches.

  Raises:
    ConfigError: there is no such job, or it has made no policy.
  """
  run = load_run(workdir)
  made = run.policies()
  stage = made.get('learned') or next(iter(made.values()), None)
  require(stage is not None, f'{workdir} has no policy yet: let its job reach its stage reward')
  e, config = run.experiment, run.experiment.config
  prompt, _ = e.data.test
  count = prompt.length.shape[0]
  mesh = build_mesh(count)
  keys, prompt = jax.device_put(
    (of_problems(e.key, count), jax.tree.map(jnp.asarray, prompt)), problem_sharding(mesh)
  )
  params = jax.device_put(run.params(stage), replicated(mesh))
  rows = []
  names = config.evaluate.answer.search, *config.evaluate.searches
  searches = [row_of(config, name) for name in names]
  tree = next((one for one in searches if not one.search.chains), searches[0])
  policy = next(name for name, made_by in made.items() if made_by == stage)
  units = answer_units(run, tree, policy, read_spending(run))
  for one in (Search(tree.method, units, settings=tree.settings), Search(CHAINS, samples)):
    spent = (one.most,) if one.several else ()
    with jax.set_mesh(mesh):
      search = (
        jax.jit(sharded_search(e.model, test_search(e, one)))
        .lower(params, keys, prompt, *spent)
        .compile()
      )
    again = functools.partial(search, params, keys, prompt, *spent)
    tokens, flops = (float(x.sum()) for x in search_cost(e.model.config, prompt, again()))
    took, peak = beside(limits[e.model.config.dtype], again, repeats)
    shape = dict(
      method=one.method, units=one.most, policy=stage, batch=count, tokens=tokens, devices=mesh.size
    )
    rows += [
      row('trained_tokens_per_second', tokens / took, 'tokens/s', shape),
      share_row('trained_utilisation', flops, took, peak, shape),
      row('trained_problems_per_second', count / took, 'problems/s', shape),
    ]
  return rows
