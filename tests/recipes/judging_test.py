"""A run's critic as a judge: it sees texts alone, and says of a step what a search's tree says."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from configs import quickstart
from o1jax.data import LabelledSolution
from o1jax.keys import of_problems
from o1jax.model import forward
from o1jax.recipes import judging
from o1jax.recipes.build import build, fresh_params, test_search
from o1jax.recipes.judging import keep, score
from o1jax.recipes.searches import CHAINS, Search
from o1jax.runtime.config import ConfigError

test_search.__test__ = False


def read_labels(experiment, *args, **how):
  """Of the test problems, where they are made."""
  return judging.read_labels(
    experiment, *args, problems=lambda: experiment.data.test_problems, **how
  )


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
  """The smoke job without merges, so that every text has one spelling, and a head of its own."""
  config = quickstart.get_config('smoke')
  config.tokenizer.vocab_size = 0
  config.model.changes.tied_head = False
  config.shapes.update(prompt_length=24, step_length=40, row_length=320)
  return build(config, tmp_path_factory.mktemp('judging'))


@pytest.fixture(scope='module')
def params(experiment):
  """A policy that writes few characters, all of them likely, and a critic that says something."""
  e, rng = experiment, np.random.default_rng(0)
  made = jax.device_get(fresh_params(e))
  likely = sorted({*e.tokenizer.end_ids, *e.tokenizer.encode('123+*=;\n')})
  rows = rng.choice(likely, (16, 24)).astype(np.int32)
  out = forward.forward_rows(e.model, made, rows, np.full(16, 24))
  hidden = np.asarray(out.hidden, np.float32).reshape(16 * 24, -1)
  # A direction that all hidden states have in common, so that its logit is about 60 everywhere.
  common = np.linalg.lstsq(hidden, np.full(len(hidden), 60.0), rcond=None)[0]
  kernel = np.zeros_like(made['policy']['head']['kernel'])
  kernel[:, likely] = common[:, None] + 0.05 * rng.normal(size=(len(common), len(likely)))
  made['policy']['head']['kernel'] = kernel
  spread = lambda x: x + rng.normal(0, 0.5, x.shape).astype(x.dtype)
  made['critic'] = jax.tree.map(spread, made['critic'])
  return made


@pytest.fixture(scope='module')
def solutions(experiment):
  return read_labels(experiment, 'planted', '')


def numbers(scored):
  return [one.scores for one in scored]


def test_a_judge_sees_no_label(experiment, params, solutions):
  scored, left_out = score(experiment, params, solutions)
  assert len(scored) + left_out == len(solutions) == 16 and len(scored) > 8
  assert np.std(np.concatenate(numbers(scored))) > 0.01
  flip = {1: -1, -1: 1, 0: 0, None: 1}
  flipped = [s._replace(labels=tuple(flip[x] for x in s.labels), answer='no') for s in solutions]
  again, _ = score(experiment, params, flipped)
  assert numbers(again) == numbers(scored) and [one.labels for one in again] != [
    one.labels for one in scored
  ]


def test_a_step_is_judged_by_what_comes_before_it_alone(experiment, params, solutions):
  scored, _ = score(experiment, params, solutions)
  one = max(solutions, key=lambda s: len(s.steps))
  whole = scored[[s.prompt for s in scored].index(one.prompt)]
  for size in range(1, len(one.steps)):
    part = one._replace(steps=one.steps[:size], labels=one.labels[:size])
    (alone,), _ = score(experiment, params, [part])
    np.testing.assert_allclose(alone.scores, whole.scores[:size], atol=1e-5)


def test_the_end_of_a_step_has_the_value_that_a_tree_has_there(experiment, params):
  """A search decodes steps; their text, spelled anew, has the values that decoding gave."""
  prompt, _ = experiment.data.validation
  search = jax.jit(test_search(experiment, Search(CHAINS, 4)))
  keys = of_problems(experiment.key, len(prompt.length))
  tree = jax.device_get(search(forward.for_search(experiment.model, params), keys, prompt))
  texts = {True: [], False: []}  # of solutions that ended, and of those that stop before
  for b, chain in np.ndindex(len(prompt.length), tree.chains):
    question = experiment.tokenizer.decode(prompt.tokens[b, : prompt.length[b]])
    text, values = '', []
    for x in range(chain, tree.mask.shape[1], tree.chains):
      if not tree.mask[b, x, 0]:
        break
      text += experiment.tokenizer.decode(tree.tokens[b, x, 0, : tree.length[b, x, 0]])
      over = bool(tree.terminal[b, x, 0])
      if over or text.endswith('\n'):  # else the step goes on in the next node
        values.append(float(tree.value[b, x, 0]))
        steps = tuple((text if over else text[:-1]).split('\n'))
        if all(steps):  # no line is blank
          row = LabelledSolution(question.strip(), steps, (None,) * len(steps))
          texts[over].append((row, list(values)))
  for over, found in texts.items():
    # What a policy ended is closed by the end token.
    task = experiment.task._replace(marker='' if over else 'nowhere')
    scored, left_out = score(
      dataclasses.replace(experiment, task=task), params, [row for row, _ in found]
    )
    assert len(scored) > 10 and not left_out
    assert max(len(one.scores) for one in scored) > 2
    for one, (_, values) in zip(scored, found, strict=True):
      np.testing.assert_allclose(one.scores, values, atol=2e-5)


def test_what_takes_more_than_a_row_is_left_out_and_counted(experiment, params, solutions):
  long = solutions[0]._replace(steps=('1+1=2',) * 80, labels=(1,) * 80)
  scored, left_out = score(experiment, params, [long, solutions[0]])
  assert left_out == 1 and [one.prompt for one in scored] == [solutions[0].prompt]
  with pytest.raises(ConfigError, match='none of 1 solutions fits in a row of .*row_length=320'):
    score(experiment, params, [long])


def test_texts_of_another_task_are_refused(experiment, params, solutions):
  other = solutions[0]._replace(steps=('Ünder',), labels=(1,))
  with pytest.raises(ConfigError, match="the tokenizer has no token for .*'Ü'") as error:
    score(experiment, params, [other])
  assert '\n' not in str(error.value)


def test_planted_solutions_are_of_the_test_problems(experiment, solutions):
  assert [s.prompt for s in solutions] == [p.prompt.strip() for p in experiment.data.test_problems]
  assert read_labels(experiment, 'planted', '', most=3) == solutions[:3]
  silent = dataclasses.replace(experiment, task=experiment.task._replace(plant=None))
  with pytest.raises(ConfigError, match='plants no errors'):
    read_labels(silent, 'planted', '')


def test_a_file_that_cannot_be_read_is_one_line(experiment, tmp_path):
  with pytest.raises(ConfigError, match='no.json') as error:
    read_labels(experiment, 'stepwise', str(tmp_path / 'no.json'))
  assert '\n' not in str(error.value)
  path = tmp_path / 'bad.jsonl'
  path.write_text('{"prompt": "make 3", "completions": ["1"], "labels": [7]}\n')
  with pytest.raises(ConfigError, match='bad.jsonl:1: '):
    read_labels(experiment, 'stepwise', str(path))
  with pytest.raises(ConfigError, match='holds no labelled solutions'):
    read_labels(experiment, 'stepwise', str(path), skip_bad=True)


def test_what_is_judged_again_takes_the_place_of_what_was(tmp_path):
  run = types.SimpleNamespace(workdir=tmp_path)
  folder = tmp_path / 'report' / 'data'
  folder.mkdir(parents=True)
  run.write_data = lambda name, data: (folder / f'{name}.json').write_text(json.dumps(data))
  asked = ('a/x', 'one', 1), ('b/x', 'one', 2), ('a/x', 'two', 3), ('a/x', 'one', 4)
  for file, form, f1 in asked:  # files of one name are two
    path = keep(run, dict(source='x', file=file, format=form, policy='learned', f1=f1))
  assert [one['f1'] for one in json.loads(path.read_text())] == [2, 3, 4]
