"""The searches by which a config measures its policies, answers questions and draws trees.

A row of `config.evaluate.searches` names a method, its settings, and what it may spend: `tokens`,
or `units` of its own, one measurement each. `most` units have room in its program.
"""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation import methods
from o1jax.evaluation.accuracy import Readout
from o1jax.evaluation.methods import PRUNED, allocated_by, stopped_by, weighed_by
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.growth import allocate_of, check_growth, prune_of, rule_of, stop_of
from o1jax.reward import SCORES
from o1jax.reward.guide import CRITIC, ORACLE, check_guide, names
from o1jax.reward.written import reads_critic
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.search import CHOICES, SEARCHES, STOPS, Budget
from o1jax.search.stop import NEVER

# The settings of a row that are not its method's own.
COMMON = (
  *('method', 'tokens', 'units', 'most', 'choices', 'draws'),
  *('guide', 'flips', 'weigh', 'stop', 'prune', 'allocate'),
)


class Search(NamedTuple):
  """What the program of a test-time search is made from.

  Attributes:
    method: a row of `search.SEARCHES`.
    most: units that it has room for.
    rules: rows of `search.CHOICES`, one for each readout.
    settings: (name, value) of the method's own settings, sorted.
    greedy: at temperature 0.
    guide: what it follows, see `reward.guide`.
    flips: chance that the guide is flipped on a node.
    weigh: what its solutions are chosen by, where that is another guide; '' = what it follows.
    stop: (name, value) of the rule that stops it and of the rule's own settings; () = never.
    prune: (name, value) of the thresholds that prune it; () = it is not.
    ease: a row of `allocate.SIGNALS` that tells how easy each problem looks; '' = nobody asks.
  """

  method: str
  most: int
  rules: tuple[str, ...] = ()
  settings: tuple[tuple[str, object], ...] = ()
  greedy: bool = False
  guide: str = CRITIC
  flips: float = 0.0
  weigh: str = ''
  stop: tuple[tuple[str, object], ...] = ()
  prune: tuple[tuple[str, float], ...] = ()
  ease: str = ''

  @property
  def oracle(self) -> bool:
    """Whether it is told verdicts, which makes it a ceiling and no method."""
    return ORACLE in names(self.guide) or STOPS[self.rule].told

  @property
  def rule(self) -> str:
    """A row of `search.STOPS`."""
    return dict(self.stop).get('rule', NEVER)

  @property
  def chosen_by(self) -> str:
    """The guide that its solutions are chosen by."""
    return self.weigh or self.guide

  @property
  def several(self) -> bool:
    """Whether it spends as many units as a call says. Else `most`, of which a readout may count
    some."""
    return SEARCHES[self.method].several

  @property
  def chains(self) -> bool:
    """Whether its readouts count as many of the chains as a call says."""
    return SEARCHES[self.method].independent and not self.greedy


class Row(NamedTuple):
  """A row of the config's searches.

  name: in the config. labels: {choice: what its results are called}. budgets: all that is asked.
  draws: numbers of the draws of random numbers; solutions of all of them count together.
  """

  name: str
  method: str
  most: int
  settings: tuple[tuple[str, object], ...]
  labels: dict[str, str]
  budgets: tuple[Budget, ...]
  guide: str = CRITIC
  flips: float = 0.0
  weigh: str = ''
  draws: tuple[int, ...] = (0,)
  stop: tuple[tuple[str, object], ...] = ()
  prune: tuple[tuple[str, float], ...] = ()
  allocate: tuple[tuple[str, object], ...] = ()

  @property
  def search(self) -> Search:
    """Its program. Chains are sampled once for all budgets; other searches once for each."""
    copies = len(self.budgets) if SEARCHES[self.method].independent else 1
    followed = dict(guide=self.guide, flips=self.flips, weigh=self.weigh)
    followed |= dict(stop=self.stop, prune=self.prune)
    followed['ease'] = dict(self.allocate).get('by', '')
    return Search(self.method, self.most, tuple(self.labels) * copies, self.settings, **followed)

  def reads_critic(self, choice: str) -> bool:
    """Whether what it answers by a choice depends on the critic."""
    search, choosing = self.search, CHOICES[choice].reads_critic
    guided = any(row.guided for row in (SEARCHES[self.method], STOPS[search.rule]))
    read = [self.guide] * guided + [search.chosen_by] * choosing
    return any(reads_critic(guide) for guide in read)

  def readouts(self, budgets: Sequence[Budget]) -> list[Readout]:
    """Of its program, for these budgets, all with units: of chains one for each of its own."""
    alone = SEARCHES[self.method].independent
    return [
      Readout(label, choice, budget, budget.units if alone else 0, self.reads_critic(choice))
      for budget in budgets
      for choice, label in self.labels.items()
    ]


# Chains of one solution each.
CHAINS = next(name for name, row in SEARCHES.items() if row.independent)
GREEDY = Readout(methods.GREEDY, methods.UNSEEN, Budget(units=1), critic=False)
GREEDY_SEARCH = Search(CHAINS, 1, (GREEDY.rule,), greedy=True)


def row_of(config: ConfigDict, name: str) -> Row:
  """A row of the config's searches, by its name."""
  section = config.evaluate.searches[name]
  labels = {choice: _label(config, name, choice) for choice in section.choices}
  asked = [Budget(tokens=n) for n in section.tokens] + [Budget(units=n) for n in section.units]
  budgets = tuple(dict.fromkeys(asked))
  guided = section.guide, section.flips, section.get('weigh', ''), tuple(section.draws)
  guided += stop_of(section), prune_of(section), allocate_of(section)
  return Row(name, section.method, section.most, _settings(section), labels, budgets, *guided)


def rows_of(config: ConfigDict, policy: str) -> list[Row]:
  """The rows that measure a policy, without those that ask nothing."""
  names = config.evaluate.policies[policy].searches
  found = [row_of(config, name) for name in dict.fromkeys(names)]
  return [one for one in found if one.budgets]


def searches_of(config: ConfigDict, policy: str) -> list[Search]:
  """The programs by which the config measures a policy."""
  return [GREEDY_SEARCH, *(one.search for one in rows_of(config, policy))]


def row_of_method(config: ConfigDict, method: str) -> Row:
  """The row of a method: that of the config's answers, or the first, or one that no config has,
  with the method's defaults and the first choice of the answers' row."""
  section = config.evaluate
  names = [section.answer.search, *section.searches]
  name = next((name for name in names if section.searches[name].method == method), None)
  if name:
    return row_of(config, name)
  _refuse_told(method, 'the search')
  table = SEARCHES[method]
  like = section.searches[section.answer.search]
  width = (('candidates', like.get('candidates', table.least)),) if table.branches else ()
  own = {key: value for key, value in table.settings.items() if key not in table.quiet}
  choice = like.choices[0]
  return Row('', method, 1, tuple(sorted((*width, *own.items()))), {choice: method}, ())


def tokens_of_a_step(experiment: Experiment) -> float:
  """In the demonstrations, where steps are parted by the delimiter."""
  rows, tokenizer = experiment.data.instruction, experiment.tokenizer
  steps = np.isin(rows.tokens, (*tokenizer.delimiter_ids, *tokenizer.end_ids)).sum()
  return float(np.sum(rows.length) / max(steps, 1))


def check_searches(config: ConfigDict) -> None:
  """Refuses searches of the evaluation that cannot work."""
  section = config.evaluate
  known = ', '.join(section.searches) or 'none'
  require(len(section.policies) > 0, 'config.evaluate.policies names none: give at least one')
  for name in section.searches:
    _check_row(config, name)
  for policy, settings in section.policies.items():
    bad = [name for name in settings.searches if name not in section.searches]
    require(
      not bad,
      f'config.evaluate.policies.{policy}.searches names {", ".join(map(repr, bad))}: choose from '
      f'the rows of config.evaluate.searches, {known}',
    )
  answer = section.answer
  require(
    answer.search in section.searches,
    f'config.evaluate.answer.search is {answer.search!r}: choose from the rows of '
    f'config.evaluate.searches, {known}',
  )
  asked = f'config.evaluate.answer has tokens={answer.tokens} and units={answer.units}'
  require(
    min(answer.tokens, answer.units) == 0 < max(answer.tokens, answer.units),
    f'{asked}: give one of them, and 0 for the other',
  )
  most = section.searches[answer.search].most
  require(
    answer.units <= most,
    f'{asked}, and the search {answer.search} has room for {most}: raise '
    f'config.evaluate.searches.{answer.search}.most',
  )


def check_method(search: ConfigDict, config: ConfigDict, units: int, of: str) -> None:
  """Refuses a search by a method, with its settings, that cannot work with so many units."""
  require(
    search.method in SEARCHES,
    f'{of}.method is {search.method!r}: choose one of {", ".join(SEARCHES)}',
  )
  row = SEARCHES[search.method]
  others = ', '.join(name for name, other in SEARCHES.items() if other.least == 1)
  candidates = search.get('candidates', 1)
  require(
    candidates >= row.least,
    f'{of}.candidates={candidates} leaves {search.method} nothing to choose from: give at least '
    f'{row.least} candidates, or use method {others}',
  )
  replacement = search.get('replacement', True)
  require(isinstance(replacement, bool), f'{of}.replacement={replacement!r}: give True or False')
  asked = dict(candidates=candidates, max_steps=config.shapes.max_steps)
  try:
    row.room(max(units, 1), **asked, **row.own(search))
  except ValueError as error:
    raise ConfigError(f'{of}.{error}') from None
  sampled = not row.independent or units > 1
  require(
    config.sampling.temperature > 0 or not sampled,
    f'config.sampling.temperature=0 makes all that {of} samples equal: give a positive one',
  )
  require(
    not row.distinct or config.sampling.top_k == 0 and config.sampling.top_p >= 1,
    f'config.sampling has top_k={config.sampling.top_k} and top_p={config.sampling.top_p}: '
    f'{search.method}, the method of {of}, samples without replacement and from all tokens, so '
    'give 0 and 1, or use another method',
  )


def _check_row(config, name):
  section, of = config.evaluate.searches[name], f'config.evaluate.searches.{name}'
  for kind in ('tokens', 'units', 'draws', 'choices'):
    require(
      isinstance(section[kind], tuple | list),
      f'{of}.{kind}={section[kind]!r}: give a tuple, as in "(1, 2)"',
    )
  check_method(section, config, section.most, of)
  _refuse_told(section.method, f'{of}.method')
  row = SEARCHES[section.method]
  own = {'candidates', *(('replacement',) if row.branches else ()), *row.settings}
  for key in section:
    near = difflib.get_close_matches(key, (*COMMON, *own), 1)
    require(
      key in COMMON or key in own,
      f'{of}.{key} is no setting of {section.method}: '
      + (f'did you mean {near[0]!r}?' if near else f'it has {", ".join(sorted(own))}'),
    )
  require(section.most >= 1, f'{of}.most={section.most}: give at least 1')
  bad = [choice for choice in section.choices if choice not in CHOICES]
  require(
    not bad and len(section.choices) > 0,
    f'{of}.choices={tuple(section.choices)}: choose from {", ".join(CHOICES)}, at least one',
  )
  for kind in ('tokens', 'units'):
    asked = tuple(section[kind])
    require(
      all(type(n) is int and n >= 1 for n in asked),
      f'{of}.{kind}={asked}: give whole numbers of at least 1, or () to ask for none',
    )
  require(
    max(section.units, default=0) <= section.most,
    f'{of} asks units={tuple(section.units)} and has room for most={section.most}: raise {of}.most',
  )
  _check_guide(section, of)
  _check_draws(section, of)
  check_growth(section, of)


def _refuse_told(method, of):
  known = ', '.join(name for name, row in SEARCHES.items() if not row.told)
  require(
    not SEARCHES[method].told,
    f'{of} is {method!r}, which is told verdicts where it grows, so it is of training alone: '
    f'choose one of {known}',
  )


def _check_guide(section, of):
  try:
    check_guide(section.guide, (*SCORES, ORACLE))
  except ValueError as error:
    raise ConfigError(f'{of}.guide: {error}') from None
  if section.get('weigh'):
    try:
      check_guide(section.weigh, SCORES)
    except ValueError as error:
      raise ConfigError(f'{of}.weigh: {error}') from None
    require(
      any(CHOICES[choice].reads_critic for choice in section.choices),
      f'{of}.weigh={section.weigh!r} has no effect: none of the choices '
      f'{", ".join(section.choices)} weighs solutions; leave it empty',
    )
  require(0 <= section.flips <= 0.5, f'{of}.flips={section.flips}: give a chance in [0, 0.5]')


def _check_draws(section, of):
  draws = tuple(section.draws)
  whole = all(type(n) is int and 0 <= n < 2**31 for n in draws)
  require(
    whole and 0 < len(draws) == len(set(draws)),
    f'{of}.draws={draws}: give different whole numbers from 0 to 2**31 - 1, at least one',
  )
  require(
    len(draws) == 1 or SEARCHES[section.method].independent,
    f'{of}.draws={draws}: solutions of {section.method} depend on each other, so those of several '
    'draws are no larger search; give one draw',
  )


def _settings(section):
  return tuple(sorted((key, value) for key, value in section.items() if key not in COMMON))


def _label(config, name, choice):
  """What results are called: chains by their choice, other searches by their method and each
  choice but the first. Behind it stands the guide, where one is read that is not the critic. A row
  adds its name where the same would mean two things."""
  base, meaning = _meaning(config.evaluate.searches[name], choice)
  others = [
    _meaning(section, other)
    for section in config.evaluate.searches.values()
    for other in section.choices
  ]
  apart = any(base == other and meaning != means for other, means in others)
  return f'{base}:{name}' if apart else base


def _meaning(section, choice):
  rule = rule_of(section)
  rows = SEARCHES[section.method], STOPS[rule]
  reads = any(row.guided for row in rows) or CHOICES[choice].reads_critic
  if SEARCHES[section.method].independent:
    base = choice
  else:
    base = section.method if choice == section.choices[0] else f'{section.method}:{choice}'
  weigh = section.get('weigh', '') if CHOICES[choice].reads_critic else ''
  if reads and section.guide != CRITIC:
    base = f'{base}:{section.guide.replace(" ", "")}'
  if weigh:
    base = f'{base}:{weighed_by(weigh.replace(" ", ""))}'
  prune, allocate = prune_of(section), allocate_of(section)
  if prune:
    base = f'{base}:{PRUNED}'
  if allocate:
    base = f'{base}:{allocated_by(dict(allocate)["rule"])}'
  if rule != NEVER:
    base = f'{base}:{stopped_by(rule)}'
  grows = stop_of(section), prune, allocate, weigh
  read = (*grows, *((section.guide, section.flips) if reads else ()))
  drawn = section.method, _settings(section), tuple(section.draws)
  return base, (*drawn, choice, *read)
