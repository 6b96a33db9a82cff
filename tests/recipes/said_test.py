"""What a search gives its policy to read is refused at the door, in one line, where it cannot be."""

import pytest

from configs import searches
from o1jax.recipes import build
from o1jax.runtime.config import ConfigError


def config():
  c = searches.get_config('smoke')
  c.data.update(demonstrations=300, texts=400, pool=64, validation=8, test=8, test_targets=8)
  return c


ROWS = 'evaluate__searches__'
FORCING = f'{ROWS}budget_forcing__'


@pytest.mark.parametrize(
  'changes, words',
  [
    (
      dict(shapes__prompt_length=64),
      'searches.mctsr asks again with the attempt: a question of .* have no room in '
      'config.shapes.prompt_length=64: raise it to 1',
    ),
    ({f'{ROWS}mctsr__critique': 'critic'}, "searches.mctsr.critique='critic' is none of probe"),
    ({f'{ROWS}mctsr__children': 0}, 'searches.mctsr.children=0: give a whole'),
    ({f'{ROWS}revision__text': 'Wait'}, "revision.text='Wait': the tokenizer has no token for"),
    ({f'{FORCING}text': 'Wait'}, "budget_forcing.text='Wait': the tokenizer has no token for"),
    ({f'{FORCING}text': ''}, 'budget_forcing.text is empty, and times=1'),
    ({f'{FORCING}answer': '1,' * 12}, "answer='1,1,.* takes 24 of the 18 tokens of a step"),
    ({f'{FORCING}stop': dict(rule='agreement')}, 'budget_forcing samples all at once; use one of'),
    (
      dict(reward__search=dict(method='revision', units=2)),
      "config.reward.search.method='revision' asks several prompts of a problem, and losses read",
    ),
  ],
)
def test_what_cannot_be_read_is_one_line(changes, words, tmp_path):
  made = config()
  for key, value in changes.items():
    *sections, last = key.split('__')
    section = made
    for name in sections:
      section = section[name]
    with section.unlocked():
      section[last] = value
  with pytest.raises(ConfigError, match=words) as error:
    build.build(made, tmp_path)
  assert '\n' not in str(error.value)


def test_as_it_stands_all_of_it_has_room(tmp_path):
  build.build(config(), tmp_path / 'smoke')
  for argument in ('', 'turns'):
    c = searches.get_config(argument)
    c.data.update(demonstrations=300, texts=400, pool=256, validation=8, test=8, test_targets=8)
    build.build(c, tmp_path / (argument or 'plain'))
