"""A config for published problems whose answers are programs: what is read, asked, judged and
shown."""

import random

import jax
import numpy as np
import pytest

from configs import mbpp, quickstart
from o1jax import tree as tree_lib
from o1jax.recipes.build import build
from o1jax.runtime.config import ConfigError
from o1jax.text.answer import told
from o1jax.text.steps import DELIMITER
from o1jax.verify import sandbox
from tests import checkpoints
from tests.data import formats
from tests.helpers import jit


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  folder = tmp_path_factory.mktemp('material')
  checkpoints.write_qwen2(folder / 'model')
  rng = random.Random(0)
  rows = [formats.program(rng) | {'task_id': i, 'text': f'Task {i}.'} for i in range(460, 640)]
  rows[::10] = [row | {'test_list': ['assert f(x) == 1']} for row in rows[::10]]
  (folder / 'mbpp.jsonl').write_text(formats.lines(rows))
  c = mbpp.get_config('smoke')
  c.model.pretrained = str(folder / 'model')
  c.task.train = c.task.test = str(folder / 'mbpp.jsonl')
  c.shapes.update(step_length=48, max_steps=8)
  c.verifier.sandbox = 'unsafe_local'
  return c


def tree_of(solutions, tokenizer, *, step_length, max_steps):
  """A best-of-N tree of one chain a problem, with these steps."""
  tree = tree_lib.empty(len(solutions), max_steps, 1, step_length, max_steps)
  tree = jax.tree.map(np.array, tree)
  tree.path[:] = np.where(np.tri(max_steps, dtype=bool), np.arange(max_steps), -1)
  for b, steps in enumerate(solutions):
    for r, step in enumerate(steps):
      tokens = tokenizer.encode(step + DELIMITER)
      tree.tokens[b, r, 0, : len(tokens)], tree.length[b, r, 0] = tokens, len(tokens)
    tree.expanded[b, : len(steps)] = range(len(steps))
    tree.mask[b, : len(steps)] = tree.terminal[b, len(steps) - 1] = True
  return tree


def test_programs_are_judged_by_their_tests(config, tmp_path):
  e = build(config, tmp_path)
  assert e.verifier.name == f'unit tests in {sandbox.describe("unsafe_local")} on the host'
  prompt, reference = e.data.validation
  problems = e.task.problems('validation', len(prompt.length), config.seed)
  asked = e.tokenizer.decode(prompt.tokens[0, : prompt.length[0]])
  assert problems[0].prompt.strip() in asked and '```python' in asked
  right = [e.task.demonstrate(problem, np.random.default_rng(0)) for problem in problems]
  wrong = [[step.replace('return', 'return 0 *') for step in steps] for steps in right]
  for solutions, verdict in ((right, 1), (wrong, 0)):
    tree = tree_of(solutions, e.tokenizer, step_length=48, max_steps=8)
    last = np.array([[len(steps)] for steps in solutions])
    found = jit(lambda *arguments: e.verifier.outcome(*arguments))(reference, tree, last)
    assert e.verifier.failure() is None and found.tolist() == [[verdict]] * len(problems)
  assert told(DELIMITER.join(right[0]), e.task.marker) == DELIMITER.join(right[0])


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'task.skip_bad': False}, r'mbpp.jsonl:1: bad tests .* beside the program'),
    ({'verifier.by': 'task'}, 'set config.verifier.by=code'),
    ({'verifier.by': 'math'}, 'set config.verifier.by=code'),
    ({'verifier.sandbox': 'off'}, "config.verifier.sandbox='off'"),
    ({'task.name': 'gsm8k'}, "'gsm8k' are not judged by 'code': set .*by=task or math"),
    ({'task.name': 'apps', 'task.skip_bad': False}, "'question' is missing"),
  ],
)
def test_what_does_not_fit_is_told_before_anything_is_compiled(config, tmp_path, changes, words):
  changed = config.copy_and_resolve_references()
  changed.update_from_flattened_dict(changes)
  if changed.task.name == 'gsm8k':
    for split in ('train', 'test'):
      changed.task[split] = str(tmp_path / split)
      rows = [{'question': f'{split}: {i} - {i - 1}?', 'answer': '#### 1'} for i in range(180)]
      (tmp_path / split).write_text(formats.lines(rows))
  with pytest.raises(ConfigError, match=words):
    build(changed, tmp_path)


def test_a_checkpoint_needs_a_config_that_says_how_it_is_asked(config, tmp_path):
  c = quickstart.get_config('smoke')
  c.model.pretrained = config.model.pretrained
  with pytest.raises(ConfigError, match='how it is asked .*: begin with configs/gsm8k.py'):
    build(c, tmp_path)
  assert not any(tmp_path.iterdir())
