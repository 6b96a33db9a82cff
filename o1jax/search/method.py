"""A row of the table of searches, and how it is run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from o1jax import tree as tree_lib
from o1jax.decode.grow import Reward, grower, start
from o1jax.decode.rules import Sampling
from o1jax.decode.world import Edit, World
from o1jax.dialogue import reviser
from o1jax.reward import OUTCOME
from o1jax.reward.guide import CRITIC
from o1jax.reward.known import Known, Texts
from o1jax.reward.written import asked, reads, renewed, statistics, weighed, writers
from o1jax.search.prune import pruned
from o1jax.search.room import Room
from o1jax.search.stop import NEVER, STOPS, stopped, stopped_turns, told
from o1jax.search.turns import prompts
from o1jax.tree import GUIDE
from o1jax.types import Array, Params, Prompt, Tree

# What the trees of a search that samples several candidates of a step provide.
BRANCHES = frozenset({'solutions', 'siblings'})


class Look(NamedTuple):
  """How a plot shows a method: a colour of `evaluation.figures.PALETTE`, and a marker of
  Matplotlib."""

  colour: str
  marker: str


class Method(NamedTuple):
  """A search.

  Attributes:
    search: (grow, tree, cache, keys, *, units, **settings) -> Tree. It knows no model, no
      parameters and no reference.
    room: (units, *, candidates, max_steps, **settings) -> `Room`: the tree that it needs.
    words: what people call it.
    look: see `Look`.
    unit: what `units` counts, in the plural.
    steps: (units, *, candidates, max_steps, **settings) -> the steps that it samples where a
      solution has `max_steps`, so that a budget in tokens becomes units.
    settings: its own, with their defaults.
    quiet: settings that leave its noise out, for evaluation.
    least: candidates that it needs at least.
    independent: its solutions are independent samples, so that some of them are a smaller search.
    in_one_go: all that it samples is asked of `Grow` in one go, so that no rule can stop it.
    guided: where it grows depends on its guide, or for how long.
    told: where it grows depends on verdicts, so it is of training alone.
    continues: fewer units are the beginning of more.
    distinct: it samples without replacement, which takes all tokens: neither `top_k` nor `top_p`.
    several: one program searches with any number of units up to that of its room.
    writes: names of scores that the search itself writes.
    provides: what a loss may ask of its trees: 'solutions' of a problem to compare, 'siblings' to
      compare, 'improved', statistics over siblings, 'rollouts' from steps of wrong solutions.
    edits: (encode, **settings) -> what is written into its steps, `encode` being text -> tokens;
      None where it gives no text.
    says: those of its settings that are texts in tokens.
    turns: it takes turns: `search` is told `revise`, see `dialogue.Revise`, and its trees hold
      solutions of several prompts. So no loss can read them.
  """

  search: Callable[..., Tree]
  room: Callable
  words: str
  look: Look
  unit: str
  steps: Callable
  settings: Mapping[str, Any] = {}
  quiet: Mapping[str, Any] = {}
  least: int = 1
  independent: bool = False
  in_one_go: bool = False
  guided: bool = True
  told: bool = False
  continues: bool = False
  distinct: bool = False
  several: bool = False
  writes: tuple[str, ...] = ()
  provides: frozenset[str] = frozenset()
  edits: Callable[..., Edit | None] | None = None
  says: tuple[str, ...] = ()
  turns: bool = False

  @property
  def prunes(self) -> bool:
    """Whether it has nodes that a guide can call wrong."""
    return self.guided and not self.turns

  @property
  def branches(self) -> bool:
    """Whether it samples several candidates of a step at once."""
    return self.least > 1

  def own(self, section: Mapping[str, Any]) -> dict[str, Any]:
    """Its settings as a section of a config has them, with the defaults of those that it lacks."""
    return {name: section.get(name, default) for name, default in self.settings.items()}


def run(
  method: Method,
  model,
  params: Params,
  keys: Array,
  prompt: Prompt,
  *,
  units: Array | int,
  step_length: int,
  max_steps: int,
  sampling: Sampling,
  candidates: int = 1,
  most: int | None = None,
  merge: bool = True,
  replacement: bool = True,
  scores: Sequence[str] = (),
  reward: Mapping[str, float] | None = None,
  outcome: Reward | None = None,
  guide: str = CRITIC,
  flips: float = 0.0,
  weigh: str = '',
  oracle: Reward | None = None,
  world: World | None = None,
  texts: Texts | None = None,
  stop: Mapping[str, Any] = {},
  prune: Mapping[str, float] = {},
  **settings,
) -> Tree:
  """Searches B problems with a policy.

  Args:
    method: a row of `search.SEARCHES`.
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem.
    prompt: B problems.
    units: [] what the method may spend, see `Method.unit`.
    step_length: L.
    max_steps: R.
    sampling: see `Sampling`; temperature must be positive where there are several candidates.
    candidates: A, for methods that branch.
    most: units that the tree has room for; None = `units`, which is then a number.
    merge: merge equal siblings.
    replacement: siblings are independent samples; else no two of them are alike, see `grower`.
    scores: names in `reward.SCORES` that are written on all nodes.
    reward: what search backs up on reaching a finished node: weights of scores, and of 'outcome'
      where it is there to be asked; None = the guide.
    outcome: (tree, ids [B, N]) -> verdicts, NaN where there is none, for a reward or a rule that is
      told them. It knows the answers, so it is for training and for ceilings.
    guide: what the search follows, see `reward.guide`.
    flips: chance that the guide is flipped on a node, see `reward.noise`.
    weigh: the guide that stands on the nodes in the end, for the choice of an answer; '' = `guide`.
    oracle: (tree, ids [B, N]) -> [B, N], the score of that name. It knows the answers, so a search
      that follows it measures a ceiling.
    world: what is said after a step; None = nothing.
    texts: how the task's texts are read and written, for scores that read them and methods that
      give some.
    stop: the `rule` by which a problem is done before its units are spent, a row of `stop.STOPS`,
      and its settings; without it never.
    prune: thresholds of wrong and right nodes, see `prune.pruned`; without them none is.
    **settings: of the method.

  Returns:
    Tree [B, X, A, L], with X and A as its `room` says.
  """
  known = Known(model, params, keys, prompt, texts=texts)
  rule, settings = stop.get('rule', NEVER), {**method.settings, **settings}
  scores = (*scores, *(name for name in reward or {} if name != OUTCOME))
  scores = (*scores, *STOPS[rule].reads, *(asked((), weigh) if weigh else ()))
  if method.turns and settings['critique']:
    scores = (*scores, settings['critique'])
  noted, remembers = statistics(asked(scores, guide)), reads(asked(scores, guide))
  edit = method.edits(texts.encode, **settings) if method.edits else None

  def rewarded(tree, ids):
    named = lambda name: tree_lib.pick(tree.scores[name], ids)
    part = lambda name: outcome(tree, ids) if name == OUTCOME else named(name)
    return sum(weight * part(name) for name, weight in (reward or {GUIDE: 1.0}).items())

  def begin(prompt, keys, room):
    """An empty tree after a prompt, its cache, and what grows it."""
    own = known._replace(keys=keys)
    written = writers(own, scores, guide=guide, flips=flips, oracle=oracle) | told(rule, outcome)
    tree, cache = start(
      model,
      params,
      prompt,
      slots=room.slots,
      candidates=room.candidates,
      step_length=step_length,
      max_steps=max_steps,
      # Later steps read what a world says, so the keys of all slots are kept. So they are where a
      # score reads on.
      last=0 if world or edit or remembers else room.last,
      scores=(*noted, *written, *method.writes),
    )
    grow = grower(
      model,
      params,
      prompt,
      sampling=sampling,
      merge=merge,
      replacement=replacement,
      scores=written,
      statistics=noted,
      keep=remembers,
      reward=rewarded if reward or GUIDE in written else None,
      world=world,
      edit=edit,
    )
    return tree, cache, grow

  room = method.room(most or units, candidates=candidates, max_steps=max_steps, **settings)
  tree, cache, grow = begin(prompt, keys, room)
  grow = pruned(stopped(grow, **stop), **prune)
  if method.turns:
    chain = Room(max_steps, 1, last=max_steps)
    write = prompts(known, text=settings['text'], critique=settings['critique'])
    revise = reviser(lambda prompt, keys: begin(prompt, keys, chain), write)
    settings['revise'] = stopped_turns(revise, **stop)
  tree = method.search(grow, tree, cache, keys, units=units, **settings)
  tree = renewed(tree, known, scores, guide=guide, flips=flips)
  return weighed(tree, weigh) if weigh else tree
