"""The words and looks of the methods of results.csv, for readers and plots.

A method either samples independent solutions and chooses one by a row of `search.CHOICES`, or it is
a row of `search.SEARCHES` whose solutions branch. The words and looks come from these tables.
"""

import itertools
from typing import NamedTuple

from o1jax.reward import SCORES
from o1jax.reward.guide import CRITIC, ORACLE, check_guide, names
from o1jax.reward.written import reads_critic
from o1jax.search import CHOICES, SEARCHES, STOPS
from o1jax.search.allocate import ALLOCATIONS


class Method(NamedTuple):
  """What a reader sees of a method.

  Attributes:
    words: what a page calls it.
    look: a colour of `figures.PALETTE` and a marker of `page.SHAPES`.
    critic: it reads the critic, so it says little where no stage has trained one.
    tree: its solutions branch; else they are sampled whole.
    oracle: it is told verdicts, so it is a ceiling and not a method.
    unit: what its units count, in the plural.
  """

  words: str
  look: tuple[str, str]
  critic: bool = False
  tree: bool = False
  oracle: bool = False
  unit: str = 'units'


GREEDY, COVERAGE = 'greedy', 'pass@k'
# Two rules read no critic. One takes the first solution unseen. The other lets solutions vote: that
# vote is what every search is compared with.
UNSEEN, *_, BASELINE = [name for name, row in CHOICES.items() if not row.reads_critic]
_CHAINS = next(row.unit for row in SEARCHES.values() if row.independent)
METHODS = {
  GREEDY: Method('greedy (one solution)', CHOICES[UNSEEN].look, unit=_CHAINS),
  **{
    name: Method(row.words, row.look, critic=row.reads_critic, unit=_CHAINS)
    for name, row in CHOICES.items()
    if name != UNSEEN
  },
  **{
    name: Method(row.words, row.look, critic=row.guided, tree=True, unit=row.unit)
    for name, row in SEARCHES.items()
    if not row.independent
  },
  COVERAGE: Method('pass@k (ceiling)', ('pink', 'X'), oracle=True, unit=_CHAINS),
}
_STOPPED, _SHARED, _WEIGHED = 'stop=', 'allocate=', 'weigh='
PRUNED = 'pruned'  # a part of a method's name
# Looks of methods that the tables do not know, in order of appearance.
SPARE = tuple(zip(('muted', 'sky', 'pink', 'green', 'red', 'blue'), '^vDPsX', strict=True))


def method(name: str) -> Method:
  """The row of a method. One that a config has set apart, 'METHOD:PART', is called so too, and by
  its guide, 'METHOD:GUIDE', by the rule that stops it, and by what weighs its answers. A method
  that the tables do not know is called by its name."""
  first, *parts = name.split(':')
  if not parts or first not in METHODS:
    return METHODS.get(name, Method(name, SPARE[0]))
  weighs = [part for part in parts if part.startswith(_WEIGHED)]
  if weighs:
    row = method(':'.join([first, *(part for part in parts if part not in weighs)]))
    return row._replace(words=f'{row.words}, answers by {weighs[0].removeprefix(_WEIGHED)}')
  guides = [part for part in parts if _guides(part)]
  row, others = METHODS[first], [part for part in parts if part not in guides]
  words = [row.words, *(_part(part) for part in others)]
  rules = [STOPS[rule] for rule in map(rule_of, others) if rule in STOPS]
  row = row._replace(
    critic=row.critic or any(rule.guided for rule in rules),
    oracle=any(rule.told for rule in rules),
  )
  if not guides:
    return row._replace(words=', '.join(words))
  guide = guides[0]
  told = ', '.join(words).replace(CRITIC, guide)  # as in 'critic-weighted vote'
  return row._replace(
    words=told if guide in told else f'{told} by {guide}',
    critic=reads_critic(guide),
    oracle=row.oracle or ORACLE in names(guide),
  )


def stopped_by(rule: str) -> str:
  """The part of a method's name that tells the rule of `search.STOPS` that stops it."""
  return f'{_STOPPED}{rule}'


def allocated_by(rule: str) -> str:
  """The part of a method's name that tells the rule of `allocate.ALLOCATIONS` by which problems get
  more or less."""
  return f'{_SHARED}{rule}'


def weighed_by(guide: str) -> str:
  """The part of a method's name that tells the guide by which its answer is chosen."""
  return f'{_WEIGHED}{guide}'


def without_rule(name: str) -> str:
  """The name of the same method without the rule that stops it; the name itself where none does."""
  parts = name.split(':')
  at = next((i for i, part in enumerate(parts) if rule_of(part)), len(parts))
  return ':'.join(parts[:at])


def rule_of(part: str) -> str:
  """The rule of `search.STOPS` that a part of a method's name tells, '' where it tells none."""
  return part.removeprefix(_STOPPED) if part.startswith(_STOPPED) else ''


def _part(part):
  """A part of a method's name that is no guide, in words."""
  if part in CHOICES:
    return CHOICES[part].words
  rule, shared = rule_of(part), part.removeprefix(_SHARED)
  if part.startswith(_SHARED) and shared in ALLOCATIONS:
    return ALLOCATIONS[shared].words
  return f'until {STOPS[rule].words}' if rule in STOPS else part


def _guides(part: str) -> bool:
  """Whether a part of a method's name is a guide."""
  try:
    check_guide(part, (*SCORES, ORACLE))
    return True
  except ValueError:
    return False


def looks(names) -> dict[str, tuple[str, str]]:
  """Colour and marker of each name, the same in every figure of a report."""
  spare = itertools.cycle(SPARE)
  return {
    name: tuple(METHODS[name].look) if name in METHODS else next(spare)
    for name in dict.fromkeys(names)
  }
