"""Monte-Carlo tree search over reasoning steps, through mctx: a node is a step, and an action picks
one of A candidates.

mctx keeps the statistics, our `Tree` keeps the text. The node that simulation i visits becomes
mctx's node i + 1 and fills our slot i + 1. So mctx's `children_*[B, m, a]` is our node
`1 + m*A + a`.
"""

import functools

import jax
import jax.numpy as jnp
import mctx
from mctx._src.action_selection import masked_argmax
from mctx._src.seq_halving import score_considered

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.finish import finish
from o1jax.search.method import BRANCHES, Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def gumbel(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  gumbel_scale: float = 1.0,
) -> Tree:
  """MCTS with sequential halving at the root (Danihelka et al. 2022), the search of
  `mctx.gumbel_muzero_policy`.

  Args:
    grow: the policy.
    tree: empty, [B, X, A, L] with A >= 2 and the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] simulations, each of which expands one node or revisits a finished one; at least 1 and
      at most what the tree has room for.
    gumbel_scale: 0 makes the root's choice deterministic.

  Returns:
    The tree, with `visits` and `q` of the search.
  """

  def run(noise_keys, root, recurrent, **settings):
    draw = lambda key: jax.random.gumbel(key, root.prior_logits.shape[1:])
    return mctx.search(
      None,
      noise_keys[0],  # no number that we use comes from it
      root=root,
      recurrent_fn=recurrent,
      root_action_selection_fn=functools.partial(_halve, units),
      interior_action_selection_fn=mctx.gumbel_muzero_interior_action_selection,
      extra_data=mctx.GumbelMuZeroExtraData(root_gumbel=gumbel_scale * jax.vmap(draw)(noise_keys)),
      **settings,
    )

  return _mcts(grow, tree, cache, keys, units, run)


def puct(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  exploration: float = 1.25,
  dirichlet_fraction: float = 0.25,
) -> Tree:
  """MCTS by PUCT (arXiv:1911.08265), the search of `mctx.muzero_policy`.

  Its exploration term is `prior * sqrt(N) / (1 + n) * (log((N + c2 + 1) / c2) + exploration)`.
  Arguments as in `gumbel`, but for:

    exploration: c1.
    dirichlet_fraction: share of Dirichlet noise in the root's prior; 0 for evaluation.
  """

  def run(noise_keys, root, recurrent, **settings):
    prior = jax.nn.softmax(root.prior_logits)
    draw = lambda key: jax.random.dirichlet(key, jnp.full(prior.shape[1:], 0.3))
    noise = dirichlet_fraction * jax.vmap(draw)(noise_keys)
    mixed = jnp.where(prior > 0, (1 - dirichlet_fraction) * prior + noise, 0)

    def select(key, tree, node, depth):
      # mctx draws ties for the whole batch at once.
      visit = tree.node_visits[tree.ROOT_INDEX]
      key = jax.random.fold_in(jax.random.fold_in(tree.extra_data, visit), node)
      return mctx.muzero_action_selection(key, tree, node, depth, pb_c_init=exploration)

    return mctx.search(
      None,
      noise_keys[0],
      root=root.replace(prior_logits=_prior_logits(mixed)),
      recurrent_fn=recurrent,
      root_action_selection_fn=functools.partial(select, depth=0),
      interior_action_selection_fn=select,
      extra_data=noise_keys,
      **settings,
    )

  return _mcts(grow, tree, cache, keys, units, run)


def room(
  units: int,
  *,
  candidates: int,
  max_steps: int,
  gumbel_scale: float = 0.0,
  exploration: float = 0.0,
  dirichlet_fraction: float = 0.0,
) -> Room:
  """A slot for the root and for each simulation, and after them those of the chain that finishes an
  unfinished problem.

  Raises:
    ValueError: a setting of either search is out of range.
  """
  check_range(0, gumbel_scale=gumbel_scale, exploration=exploration)
  check_range(0, 1, dirichlet_fraction=dirichlet_fraction)
  return Room(slots=units + max_steps, candidates=candidates, last=max_steps - 1)


def _mcts(grow, tree, cache, keys, units, run):
  """The search that `run` does with mctx. Then, for problems without a finished solution, one chain
  from the likeliest leaf. Its steps count in the tokens like all others."""
  batch, slots, _ = tree.mask.shape
  steps = tree.path.shape[-1]
  most = slots - steps
  root = jnp.full((batch, 1), tree_lib.ROOT)
  carry = grow(tree, cache, streams.of_slot(keys, 0), root, slot=0, depth=0)
  (tree, cache), searched = _search(carry, grow, units, most, keys, run)
  filled = most + 1
  # Below a finished node mctx walks on through a slot that we left unused. Those visits count for
  # nobody.
  visits = jnp.where(tree.mask[:, :filled], searched.children_visits, 0)
  q = searched.children_rewards + searched.children_discounts * searched.children_values
  tree = tree.replace(
    visits=tree.visits.at[:, :filled].set(visits),
    q=tree.q.at[:, :filled].set(jnp.where(visits > 0, q, 0)),
  )
  return finish(grow, tree, cache, streams.of_slot(keys, units + 1), filled)


def _search(carry, grow, units, most, keys, run):
  """Runs mctx with our arrays threaded beside its own. Returns (our carry, mctx's tree)."""
  cell = {'carry': carry, 'simulation': None}
  tree = carry[0]
  batch, _, width = tree.mask.shape

  def recurrent(params, key, action, slot):
    """Visits candidate `action` of `slot`: reads its value, expands it into the simulation's own
    slot."""
    del params, key  # our keys are per problem and slot
    tree, cache = cell['carry']
    node = (1 + slot * width + action)[:, None]
    value, reward = (
      tree_lib.pick(field, node)[:, 0] for field in (tree_lib.guide(tree), tree.reward)
    )
    alive = tree_lib.expandable(tree, node)[:, 0]
    new = cell['simulation'] + 1
    tree, cache = grow(tree, cache, streams.of_slot(keys, new), node, slot=new)
    cell['carry'] = tree, cache
    prior = jax.lax.dynamic_index_in_dim(tree.prior, new, axis=1, keepdims=False)
    output = mctx.RecurrentFnOutput(
      reward=reward,
      # Nothing follows a finished (or too deep) node. mctx may still walk there, and must find
      # zeros.
      discount=alive.astype(jnp.float32),
      prior_logits=_prior_logits(prior),
      value=jnp.where(alive, value, 0),
    )
    return output, jnp.full_like(slot, new)

  def loop(lower, upper, body, init):
    def threaded(i, state):
      cell['carry'], cell['simulation'] = state[1], i
      inner = body(i, state[0])
      return inner, cell['carry']

    del upper  # room for the largest budget
    # The name tells how often the loop runs at most, which a reader of the program could not see.
    with jax.named_scope(f'simulations/turns_{most}'):
      inner, cell['carry'] = jax.lax.fori_loop(lower, units, threaded, (init, cell['carry']))
    return inner

  root = mctx.RootFnOutput(
    prior_logits=_prior_logits(tree.prior[:, 0]),
    value=tree_lib.root_guide(tree),
    embedding=jnp.zeros(batch, jnp.int32),
  )
  searched = run(
    streams.of_noise(keys),
    root,
    recurrent,
    num_simulations=most,
    invalid_actions=1.0 - tree.mask[:, 0],
    loop_fn=loop,
  )
  return cell['carry'], searched


def _halve(units, key, tree, node):
  """`mctx.gumbel_muzero_root_action_selection`, planned for a number of simulations that is known
  only when the program runs."""
  del key
  visits, prior = tree.children_visits[node], tree.children_prior_logits[node]
  valid = jnp.sum(1 - tree.root_invalid_actions, axis=-1).astype(jnp.int32)
  plans = [considered_visit(n, units, visits.sum()) for n in range(visits.shape[-1] + 1)]
  scores = score_considered(
    jnp.stack(plans)[valid],
    tree.extra_data.root_gumbel,
    prior,
    mctx.qtransform_completed_by_mix_value(tree, node),
    visits,
  )
  return masked_argmax(scores, tree.root_invalid_actions)


def considered_visit(actions: int, units: Array | int, simulation: Array | int) -> Array:
  """How often an action must have been visited for sequential halving to consider it.

  Args:
    actions: to choose from.
    units: [] simulations that are planned.
    simulation: [] number of this one, from 0.

  Returns:
    [] int32; mctx's `get_sequence_of_considered_visits(actions, units)[simulation]`.
  """
  if actions <= 1:
    return jnp.asarray(simulation, jnp.int32)
  phases = (actions - 1).bit_length()
  visit = before = begin = jnp.int32(0)
  considered = actions
  while True:
    rounds = jnp.maximum(units // (phases * considered), 1)
    visit = jnp.where(simulation >= begin, before + (simulation - begin) // considered, visit)
    if considered <= 2:  # the last two go on to the end
      return visit
    before, begin = before + rounds, begin + rounds * considered
    considered = max(considered // 2, 2)


def _prior_logits(prior: Array) -> Array:
  """Logits of the prior. mctx masks invalid candidates only at the root; inside, a finite minimum
  keeps them out of every argmax."""
  return jnp.where(prior > 0, jnp.log(jnp.maximum(prior, 1e-9)), jnp.finfo(jnp.float32).min)


def _steps(units, *, candidates, max_steps, **settings):
  del settings
  return (1 + units) * candidates + max_steps / 2


_ROW = dict(
  room=room,
  unit='simulations',
  steps=_steps,
  least=2,
  several=True,
  provides=BRANCHES | {'improved'},
)
GUMBEL = Method(
  gumbel,
  words='Gumbel MCTS',
  look=Look('blue', 'o'),
  settings=dict(gumbel_scale=1.0),
  quiet=dict(gumbel_scale=0.0),
  **_ROW,
)
PUCT = Method(
  puct,
  words='PUCT MCTS',
  look=Look('sky', 'v'),
  settings=dict(exploration=1.25, dirichlet_fraction=0.25),
  quiet=dict(dirichlet_fraction=0.0),
  **_ROW,
)
