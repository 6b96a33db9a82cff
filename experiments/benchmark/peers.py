"""Today's usual way beside ours: a Hugging Face Llama, a plain Python tree, `generate`. Needs the
extra `parity`.

Weights, prompts, candidates, simulations and tokens a step are the same. The peer keeps the keys
and values of every node, so it computes no prefix twice. It samples the A candidates of a node as
one batch.
"""

import copy
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import Row, row, seconds
from experiments.benchmark.work import Work
from o1jax.model.families import settings_of
from o1jax.model.hf import exported


class Node:
  """A node of the peer's tree."""

  __slots__ = ('cache', 'hidden', 'depth', 'value', 'visits', 'total', 'children')

  def __init__(self, cache: Any, hidden: Any, depth: int, value: float):
    """After a step: keys and values of all tokens so far, the last hidden state [1, 1, D],
    P(correct)."""
    self.cache, self.hidden, self.depth, self.value = cache, hidden, depth, value
    self.visits, self.total, self.children = 0, 0.0, []


class Peer:
  """A policy and critic in torch."""

  def __init__(self, work: Work):
    """Takes over the weights of `work`, whose critic must be a head on the policy's trunk."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    s, config = work.sizes, work.model.config
    self._torch, self._sizes = torch, s
    length = s.prompt_length + s.max_steps * s.step_length
    settings = AutoConfig.for_model(**settings_of(config, max_length=length))
    self.model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32).eval()
    self.model.load_state_dict(
      {name: torch.tensor(x) for name, x in exported(config, work.params['policy'])}
    )
    critic = work.params['critic']
    self._hidden, self._score = (
      torch.tensor(np.asarray(critic[name]['kernel'])) for name in ('hidden', 'score')
    )
    self.prompts = torch.tensor(np.asarray(work.prompt.tokens)).long()

  def search(self, problem: int) -> Node:
    """MCTS with PUCT over one problem; returns the root."""
    torch, s = self._torch, self._sizes
    with torch.inference_mode():
      out = self.model.model(self.prompts[problem : problem + 1], use_cache=True)
      hidden = out.last_hidden_state[:, -1:]
      root = Node(out.past_key_values, hidden, 0, self._value(hidden)[0])
      self._expand(root)
      for _ in range(s.simulations):
        path = [root]
        while path[-1].children:
          path.append(_select(path[-1]))
        leaf = path[-1]
        if leaf.depth < s.max_steps:
          self._expand(leaf)
        for node in path:
          node.visits += 1
          node.total += leaf.value
    return root

  def generate(self, samples: int):
    """N samples for each of all problems at once, [B*N, T], by the library's own `generate`. None
    is chosen."""
    s = self._sizes
    tokens = s.max_steps * s.step_length
    with self._torch.inference_mode():
      return self.model.generate(
        self.prompts,
        attention_mask=self._torch.ones_like(self.prompts),
        do_sample=True,
        top_k=0,
        num_return_sequences=samples,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        pad_token_id=0,
      )

  def best_of_n(self, samples: int):
    """The solution [T] of each problem that its critic likes best, after a pass over all of
    them."""
    torch = self._torch
    rows = self.generate(samples)
    with torch.inference_mode():
      values = self._value(self.model.model(rows, use_cache=False).last_hidden_state[:, -1:])
    best = torch.tensor(values).reshape(-1, samples).argmax(1)
    return rows.reshape(len(best), samples, -1)[torch.arange(len(best)), best]

  def _expand(self, node: Node) -> None:
    torch, s = self._torch, self._sizes
    cache = copy.deepcopy(node.cache)
    cache.batch_repeat_interleave(s.candidates)
    hidden = node.hidden.expand(s.candidates, 1, -1)
    for _ in range(s.step_length):
      probs = torch.softmax(self.model.lm_head(hidden[:, 0]), dim=-1)
      token = torch.multinomial(probs, 1)
      out = self.model.model(token, past_key_values=cache, use_cache=True)
      hidden, cache = out.last_hidden_state, out.past_key_values
    for a, value in enumerate(self._value(hidden)):
      own = copy.deepcopy(cache)
      own.batch_select_indices(torch.tensor([a]))
      node.children.append(Node(own, hidden[a : a + 1], node.depth + 1, value))

  def _value(self, hidden) -> list[float]:
    torch = self._torch
    score = torch.nn.functional.gelu(hidden[:, 0] @ self._hidden, approximate='tanh') @ self._score
    return torch.sigmoid(score[:, 0]).tolist()


def peer_rows(work: Work, *, problems: int, samples: int, repeats: int) -> list[Row]:
  """Ours over theirs in problems a second, and both speeds. The peer's MCTS is timed on the first
  `problems`.

  Our best-of-N includes what its critic thinks of each solution. It is also compared with
  `generate` alone, which does not.
  """
  peer, count = Peer(work), work.sizes.batch
  mcts, best_of_n = work.mcts, work.best_of_n(samples)
  speeds = {
    'mcts': count / seconds(lambda: mcts(work.params), repeats),
    'best_of_n': count / seconds(lambda: best_of_n(work.params), repeats),
  }
  speeds['generate'] = speeds['best_of_n']
  theirs = {
    'mcts': problems
    / seconds(lambda: [peer.search(i) for i in range(problems)] and jnp.zeros(()), repeats),
    'best_of_n': count / seconds(lambda: peer.best_of_n(samples) is None, repeats),
    'generate': count / seconds(lambda: peer.generate(samples) is None, repeats),
  }
  rows = []
  for method, speed in speeds.items():
    shape = work.shape(method=method, samples=samples)
    rows += [
      row('problems_per_second', speed, 'problems/s', shape),
      row('peer_problems_per_second', theirs[method], 'problems/s', shape),
      row('peer_speedup', np.median(speed) / theirs[method], 'times', shape),
    ]
  return rows


def _select(node: Node, exploration: float = 1.25) -> Node:
  """PUCT with equal priors."""
  bonus = exploration * math.sqrt(node.visits + 1) / len(node.children)
  return max(
    node.children,
    key=lambda child: (
      (child.total / child.visits if child.visits else node.value) + bonus / (1 + child.visits)
    ),
  )
