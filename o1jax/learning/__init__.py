"""Chapter 4, learning: from a searched tree to an update of its policy and critic.

`LOSSES`, `ADVANTAGES`, `VALUES` and `DRAWS` are the variants. A row holds the function, the words
that a person reads, what it needs of search and stage, and its own settings with their defaults. A
new variant is a function in a file of this folder and a row here.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from o1jax.learning import advantages, draw, losses, ppo, preference, returns, steps
from o1jax.reward import OUTCOME, SCORES

# What a row may need. Some searches provide some of the first; any stage provides the others.
OF_SEARCH = {
  'solutions': 'several whole solutions of a problem',
  'siblings': 'several candidates under one node',
  'improved': "a search's improved policy over siblings",
  'rollouts': 'rollouts from steps of wrong solutions',
}
# What some tasks provide.
OF_TASK = {'oracle': 'exact verdicts on prefixes of solutions'}
NEEDS = (
  OF_SEARCH
  | OF_TASK
  | {
    'frozen': 'log-probs of a frozen policy',
    'value': "the critic's values of nodes",
    'token_value': "the critic's values of tokens",
    'record': 'what the stage has found out about each problem',
  }
)


class Row(NamedTuple):
  """A variant: the function, what it does in words, what it needs (see `NEEDS`), its own settings,
  and which parts of credit it reads: of `CREDIT`, or 'returns' where it reads none but these."""

  function: Callable
  words: str
  needs: tuple[str, ...] = ()
  defaults: dict[str, float | bool | str] = {}
  credit: tuple[str, ...] = ()

  def __call__(self, *args: Any, settings: Mapping[str, Any] | None = None) -> Any:
    """Calls the function with those of the settings that are its own, or with their defaults."""
    given = settings or {}
    return self.function(*args, **{k: given.get(k, v) for k, v in self.defaults.items()})


# (Experience, **settings) -> []
LOSSES = {
  'clone': Row(losses.behaviour_cloning, 'behaviour cloning on right solutions', ('solutions',)),
  'distill': Row(losses.sibling_distillation, "the search's improved policy", ('improved',)),
  'gradient': Row(
    losses.policy_gradient, 'clipped policy gradient', (), dict(clip=0.2), ('advantage',)
  ),
  'kl': Row(losses.kl_to_frozen, 'KL to the frozen policy', ('frozen',)),
  'value': Row(losses.value_loss, 'the critic after each node', ('value',), credit=('value',)),
  'entropy': Row(losses.negative_entropy, 'entropy bonus per token'),
  'dpo': Row(
    preference.solution_dpo,
    'DPO over solutions of a problem',
    ('frozen', 'solutions'),
    preference.DEFAULTS,
    ('returns',),
  ),
  'sibling_dpo': Row(
    preference.sibling_dpo,
    'DPO over siblings',
    ('frozen', 'siblings'),
    preference.DEFAULTS,
    ('returns',),
  ),
  'token_value': Row(
    ppo.token_value_loss,
    'the critic after each token',
    ('token_value',),
    dict(clip=0.2),
    ('value',),
  ),
}

# (tree, returns, targets, **settings) -> [B, X, A, 1] or [B, X, A, L]
ADVANTAGES = {
  'group': Row(
    advantages.group_advantage,
    "against the mean of the problem's solutions",
    ('solutions',),
    dict(normalise=True),
  ),
  'critic': Row(
    advantages.critic_advantage,
    "the critic's target against its value before",
    ('value',),
    credit=('value',),
  ),
  'gae': Row(
    ppo.token_advantage, 'generalised, of every token', ('token_value',), dict(lambda_=0.95)
  ),
}

# (tree, returns, **settings) -> Targets
VALUES = {
  'monte_carlo': Row(
    returns.monte_carlo_targets, 'mean return below a node, a soft label', ('solutions',)
  ),
  'hard': Row(returns.hard_targets, 'best return below a node, a hard label', ('solutions',)),
  'outcome': Row(returns.outcome_targets, 'the return of a solution, at its end alone'),
  'reachable': Row(
    returns.reachable_targets,
    'whether a prefix can still become right, an exact label',
    ('oracle',),
  ),
  'first_error': Row(
    steps.first_error_targets,
    'right up to the first wrong step that rollouts found, and wrong from there',
    ('rollouts',),
    dict(soft=False),
  ),
  'td': Row(returns.td_lambda, 'TD(lambda) of nodes', ('value',), dict(lambda_=0.95)),
  'gae': Row(ppo.token_targets, 'lambda-returns of tokens', ('token_value',), dict(lambda_=0.95)),
}

# The parts of credit that a section chooses: `config.SECTION.credit.PART` is a row of its table.
CREDIT = {'advantage': ADVANTAGES, 'value': VALUES}

# (key, update, record, *, count, **settings) -> ids [count] of problems
DRAWS = {
  'uniform': Row(draw.uniform, 'all problems alike'),
  'learnability': Row(
    draw.by_learnability,
    'those more often that are sometimes solved',
    ('record',),
    dict(prior=1.0, floor=0.1),
  ),
}

# The least and the most that a setting of a row may be; a setting has one meaning in all rows.
LIMITS = {
  'clip': (0.0, float('inf')),
  'lambda_': (0.0, 1.0),
  'beta': (0.0, float('inf')),
  'label_smoothing': (0.0, 0.5),
  'prior': (0.01, float('inf')),
  'floor': (0.0, 1.0),
}

# Settings of a stage that learns, as an older config calls them, by what they are called now.
RENAMED = {'clip': 'losses.gradient.clip', 'credit.discount': 'credit.lambda_'}


def credit_defaults() -> dict[str, Any]:
  """All settings of credit, the rows' own among them."""
  rows = [*ADVANTAGES.values(), *VALUES.values()]
  own = {name: value for row in rows for name, value in row.defaults.items()}
  reward = {OUTCOME: 1.0} | dict.fromkeys(SCORES, 0.0)
  return dict(advantage='group', value='monte_carlo', gamma=1.0, reward=reward) | own


def loss_defaults() -> dict[str, dict[str, Any]]:
  """The own settings of each loss that has some."""
  return {name: dict(row.defaults) for name, row in LOSSES.items() if row.defaults}


def check_setting(name: str, value: Any) -> None:
  """Raises ValueError for a setting of a row that is not between its limits."""
  low, high = LIMITS.get(name, (None, None))
  if low is not None and not low <= value <= high:
    told = f'in [{low:g}, {high:g}]' if high < float('inf') else f'of at least {low:g}'
    raise ValueError(f'{name}={value}: give a number {told}')
