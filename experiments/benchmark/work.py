"""The timed work: random weights and prompts of a given size, and steps that always fill their L
tokens."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from o1jax.decode.rules import Sampling
from o1jax.keys import of_problems
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel
from o1jax.runtime.mesh import build_mesh, problem_sharding, replicated, sharded_search
from o1jax.search import SEARCHES, run
from o1jax.types import Array, Params, Prompt, Tree

# No token closes a step, so that the program is measured and not the text.
FULL = Sampling(eos_id=-1, delimiter_id=-1, granularity='tokens')


class Sizes(NamedTuple):
  """B, A, simulations, L, R, P."""

  batch: int
  candidates: int
  simulations: int
  step_length: int
  max_steps: int
  prompt_length: int


@dataclasses.dataclass(frozen=True)
class Work:
  """A model, and problems to search, on the devices of a mesh."""

  model: LanguageModel
  params: Params
  prompt: Prompt
  keys: Array
  sizes: Sizes
  mesh: Mesh

  def search(self, params: Params, keys: Array, prompt: Prompt) -> Tree:
    """Gumbel MCTS."""
    spend = dict(units=self.sizes.simulations, candidates=self.sizes.candidates)
    search = self._of_size('gumbel', **spend, **SEARCHES['gumbel'].quiet)
    return sharded_search(self.model, search)(params, keys, prompt)

  @functools.cached_property
  def program(self):
    """`search` of all problems, compiled."""
    return self._compile(self.search)

  def mcts(self, params: Params) -> Tree:
    """Runs it."""
    return self.program(params, self.keys, self.prompt)

  def best_of_n(self, samples: int) -> Callable[[Params], Tree]:
    """Best-of-N of all problems, compiled."""
    run = self._compile(sharded_search(self.model, self._of_size('best_of_n', units=samples)))
    return lambda params: run(params, self.keys, self.prompt)

  def _of_size(self, method, **settings):
    s, model = self.sizes, forward.decoder(self.model)
    settings |= dict(sampling=FULL, step_length=s.step_length, max_steps=s.max_steps)
    return functools.partial(run, SEARCHES[method], model, **settings)

  def _compile(self, search):
    with jax.set_mesh(self.mesh):
      return jax.jit(search).lower(self.params, self.keys, self.prompt).compile()

  def jit(self, function: Callable, **settings) -> Callable:
    """`jax.jit` for the devices of the mesh."""
    run = jax.jit(function, **settings)

    def call(*args):
      with jax.set_mesh(self.mesh):
        return run(*args)

    return call

  def shape(self, **more) -> dict:
    """The size that a row of the table names."""
    c = self.model.config
    told = dict(
      width=c.width, layers=c.layers, vocabulary=c.vocab_size, dtype=c.dtype, devices=self.mesh.size
    )
    return self.sizes._asdict() | told | more


@functools.cache
def make(model_config, sizes: Sizes, *, seed: int = 0) -> Work:
  """Random weights, and prompts of full length. A second call with the same arguments returns the
  same object, with what it compiled."""
  model, key = LanguageModel(model_config), jax.random.key(seed)
  init = jax.jit(lambda key: nn.unbox(forward.init(model, key)))
  tokens = jax.random.randint(key, (sizes.batch, sizes.prompt_length), 0, model_config.vocab_size)
  problems = (
    of_problems(key, sizes.batch),
    Prompt(tokens, jnp.full(sizes.batch, sizes.prompt_length)),
  )
  mesh = build_mesh(sizes.batch)
  keys, prompt = jax.device_put(problems, problem_sharding(mesh))
  return Work(model, jax.device_put(init(key), replicated(mesh)), prompt, keys, sizes, mesh)
