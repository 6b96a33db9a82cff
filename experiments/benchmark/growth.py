"""How the speed of search changes with one size at a time, and the exponent of its time."""

from collections.abc import Iterator

import numpy as np

from experiments.benchmark.timing import Row, row, seconds
from experiments.benchmark.work import Sizes, make
from o1jax.model.compute import search_cost
from o1jax.model.variants import ModelConfig


def growth_rows(
  config: ModelConfig, sizes: Sizes, axes: dict[str, tuple[int, ...]], *, repeats: int
) -> Iterator[Row]:
  """Tokens a second along each axis, a field of `Sizes` or of `ModelConfig`; all else stays.

  The exponent is the slope of log time over log size: 1 = time in proportion.
  """
  for axis, values in axes.items():
    times = []
    for value in values:
      work = _resized(config, sizes, axis, value)
      tokens = float(search_cost(work.model.config, work.prompt, work.mcts(work.params))[0].sum())
      took = seconds(lambda: work.mcts(work.params), repeats)  # noqa: B023
      times.append(np.median(took))
      yield row('growth_tokens_per_second', tokens / took, 'tokens/s', work.shape(axis=axis))
    if len(values) > 1:
      slope = np.polyfit(np.log(values), np.log(times), 1)[0]
      yield row(
        'growth_exponent', slope, f'of time in {axis}', dict(axis=axis, values=list(values))
      )


def _resized(config, sizes, axis, value):
  if axis in Sizes._fields:
    return make(config, sizes._replace(**{axis: value}))
  if axis != 'width':
    raise ValueError(f'axis {axis!r} is unknown: choose one of {", ".join(Sizes._fields)}, width')
  heads = max(value // config.head_width, 1)
  grown = dict(width=value, heads=heads, kv_heads=max(heads // 2, 1), mlp_width=2 * value)
  return make(ModelConfig(**{**vars(config), **grown}), sizes)
