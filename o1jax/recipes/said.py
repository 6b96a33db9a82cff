"""What a search gives its policy to read, refused at the door where a policy cannot read it: texts
in place of an end, and the prompts of later turns."""

from collections.abc import Mapping
from typing import Any

from o1jax.recipes.experiment import Experiment
from o1jax.reward import SCORES
from o1jax.runtime.config import require
from o1jax.search import SEARCHES
from o1jax.search.turns import tokens_behind
from o1jax.text.steps import DELIMITER


def check_said(experiment: Experiment, method: str, settings: Mapping[str, Any], of: str) -> None:
  """Refuses a search whose texts, or turns, have no room. of: the search in words."""
  row = SEARCHES[method]
  own = row.own(settings)
  for name in row.says:
    _check_text(experiment, own[name], f'{of}.{name}={own[name]!r}', row.edits is not None)
  if row.turns:
    _check_turns(experiment, own, of)


def _check_text(experiment, text, at, in_step):
  require(type(text) is str, f'{at}: give a text')
  unknown = experiment.tokenizer.unknown_characters([text])
  require(
    not unknown,
    f'{at}: the tokenizer has no token for {unknown}, so the policy has never read such a text; '
    'give one of the kind that it was shown',
  )
  free = experiment.config.shapes.step_length
  free -= experiment.world.tokens if experiment.world else 0
  size = len(experiment.tokenizer.encode(text))
  require(
    not in_step or size < free,
    f'{at} takes {size} of the {free} tokens of a step, and leaves none to be sampled: give a '
    'shorter text, or raise config.shapes.step_length',
  )


def _check_turns(experiment, own, of):
  """The longest question, attempt and critique must find room in a prompt."""
  e, critique = experiment, own['critique']
  lack = SCORES[critique].lacks(e.task) if critique else ''
  require(
    not lack,
    f"{of}.critique={critique!r}: the task {e.task.name!r} lacks {lack}: set critique=''",
  )
  shapes = e.config.shapes
  # A new line may stand where one token ended the attempt.
  attempt = shapes.max_steps * shapes.step_length + len(e.texts.encode(DELIMITER)) - 1
  behind = tokens_behind(e.texts, attempt, text=own['text'], critique=critique)
  asked = [e.data.test, e.data.validation, *([e.data.fixed] if e.data.fixed else [])]
  question = max(int(prompt.length.max()) for prompt, _ in asked)
  require(
    question + behind <= shapes.prompt_length,
    f'{of} asks again with the attempt: a question of {question} tokens and {behind} of attempt '
    f'and critique have no room in config.shapes.prompt_length={shapes.prompt_length}: raise it to '
    f'{question + behind}, or lower config.shapes.max_steps',
  )
