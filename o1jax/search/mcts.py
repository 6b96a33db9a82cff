"""Monte-Carlo tree search over reasoning steps, through mctx: a node is a step, an action picks one
of A candidates.

mctx keeps the statistics, our `Tree` and `TreeCache` keep the text and the keys. mctx's
`children_*[B, m, a]` is our node `1 + m*A + a`, because the node that simulation i visits becomes
mctx's node i + 1 and fills our slot i + 1.
"""

import functools

import jax
import jax.numpy as jnp
import mctx

from o1jax import tree as tree_lib
from o1jax.decode.grow import expand, start
from o1jax.decode.sampling import Sampling, cut, decode_steps
from o1jax.types import Array, OutcomeFn, Params, Prompt, Reference, Tree


def mcts(
  model,
  params: Params,
  keys: Array,
  prompt: Prompt,
  *,
  simulations: int | tuple[int, ...],
  candidates: int,
  sampling: Sampling,
  step_length: int,
  max_steps: int,
  algorithm: str = 'gumbel',
  gumbel_scale: float = 1.0,
  exploration: float = 1.25,
  dirichlet_fraction: float = 0.25,
  merge: bool = True,
  verify: OutcomeFn | None = None,
  reference: Reference | None = None,
  which: Array | int = 0,
) -> Tree:
  """Searches every problem with `simulations` expansions after the root's.

  Candidates are samples of the policy, so their prior is uniform times multiplicity (their
  log-probs would count the policy twice). Leaves are valued by the critic. If no candidate has
  finished a solution when the simulations are spent, the policy continues the likeliest leaf until
  one has; those slots count in the tokens like all others.

  Args:
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem.
    prompt: B problems.
    simulations: mctx simulations, each of which expands one node (or revisits a finished one).
      Several numbers make one program, with room for the most, that searches by the one which
      `which` says.
    candidates: A, at least 2.
    sampling: see `Sampling`; temperature must be positive, or all candidates are the same.
    step_length: L.
    max_steps: R.
    algorithm: 'gumbel' (Danihelka et al. 2022, sequential halving at the root) or 'puct'
      (arXiv:1911.08265).
    gumbel_scale: 0 makes the root's choice deterministic; only for 'gumbel'.
    exploration: c1 of PUCT.
    dirichlet_fraction: share of Dirichlet noise in PUCT's root prior; 0 for evaluation.
    merge: merge equal siblings.
    verify: train-time only: finished nodes are rewarded by the verifier instead of the critic.
    reference: what `verify` reads.
    which: [] place in `simulations`, if they are several.

  Returns:
    Tree [B, 1 + simulations + R - 1, A, L] with `visits` and `q` of the search.
  """
  if algorithm not in ('gumbel', 'puct'):
    raise ValueError(f"algorithm {algorithm!r} is unknown; choose 'gumbel' or 'puct'")
  budgets = simulations if isinstance(simulations, tuple) else (simulations,)
  most = max(budgets)
  spent = jnp.asarray(budgets)[which] if len(budgets) > 1 else most
  tree, cache = start(
    model,
    params,
    prompt,
    slots=most + max_steps,
    last=max_steps - 1,
    candidates=candidates,
    step_length=step_length,
    max_steps=max_steps,
  )

  def grow(tree, cache, parents, slot, depth=None):
    slot_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, slot)
    tree, cache = expand(
      model,
      params,
      slot_keys,
      tree,
      cache,
      parents,
      slot=slot,
      sampling=sampling,
      merge=merge,
      depth=depth,
    )
    if verify is not None:
      tree = _reward_by(verify, reference, tree, 1 + slot * candidates + jnp.arange(candidates))
    return tree, cache

  # XLA would make the first write into empty arrays one that pads them, number by number.
  tree, cache = jax.lax.optimization_barrier((tree, cache))
  root = jnp.full((prompt.length.shape[0], 1), tree_lib.ROOT)
  carry = grow(tree, cache, root, 0, depth=0)
  run = {
    'gumbel': functools.partial(_gumbel, budgets=budgets, which=which, gumbel_scale=gumbel_scale),
    'puct': functools.partial(
      _puct, most=most, exploration=exploration, dirichlet_fraction=dirichlet_fraction
    ),
  }[algorithm]
  noise_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 2**31 - 1)
  (tree, cache), searched = _search(carry, grow, spent, most, noise_keys, run)
  filled = most + 1
  # Below a finished node mctx walks on through a slot that we left unused: those visits are
  # nobody's.
  visits = jnp.where(tree.mask[:, :filled], searched.children_visits, 0)
  q = searched.children_rewards + searched.children_discounts * searched.children_values
  tree = tree.replace(
    visits=tree.visits.at[:, :filled].set(visits),
    q=tree.q.at[:, :filled].set(jnp.where(visits > 0, q, 0)),
  )
  if max_steps == 1:
    return tree
  last_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, spent + 1)
  tree = _finish(model, params, last_keys, tree, cache, filled, sampling=sampling)
  return (
    tree
    if verify is None
    else _reward_by(verify, reference, tree, tree_lib.node_ids(tree)[filled:].reshape(-1))
  )


def _search(carry, grow, spent, most, keys, run):
  """Runs mctx (`_gumbel` or `_puct`) with our arrays threaded beside its own. Returns (our carry,
  mctx's tree)."""
  cell = {'carry': carry, 'simulation': None}
  tree = carry[0]
  batch, _, width = tree.mask.shape

  def recurrent(params, key, action, slot):
    """Visits candidate `action` of `slot`: reads its value, expands it into the simulation's own
    slot."""
    del params, key  # our keys are per problem and slot
    tree, cache = cell['carry']
    node = 1 + slot * width + action
    read = {
      name: tree_lib.pick(getattr(tree, name), node[:, None])[:, 0] for name in ('value', 'reward')
    }
    alive = tree_lib.expandable(tree, node[:, None])[:, 0]
    new = cell['simulation'] + 1
    tree, cache = grow(tree, cache, node[:, None], new)
    cell['carry'] = tree, cache
    prior = jax.lax.dynamic_index_in_dim(tree.prior, new, axis=1, keepdims=False)
    output = mctx.RecurrentFnOutput(
      reward=read['reward'],
      # Past a finished (or too deep) node nothing follows: mctx may still walk there, and must find
      # zeros.
      discount=alive.astype(jnp.float32),
      prior_logits=_prior_logits(prior),
      value=jnp.where(alive, read['value'], 0),
    )
    return output, jnp.full_like(slot, new)

  def loop(lower, upper, body, init):
    def threaded(i, state):
      cell['carry'], cell['simulation'] = state[1], i
      inner = body(i, state[0])
      return inner, cell['carry']

    del upper  # room for the largest budget
    with jax.named_scope(f'simulations/turns_{most}'):  # at most: who reads the program cannot know
      inner, cell['carry'] = jax.lax.fori_loop(lower, spent, threaded, (init, cell['carry']))
    return inner

  root = mctx.RootFnOutput(
    prior_logits=_prior_logits(tree.prior[:, 0]),
    value=tree.root_value,
    embedding=jnp.zeros(batch, jnp.int32),
  )
  searched = run(keys, root, recurrent, invalid_actions=1.0 - tree.mask[:, 0], loop_fn=loop)
  return cell['carry'], searched


def _gumbel(keys, root, recurrent, *, budgets, which, gumbel_scale, **settings):
  """The search of `mctx.gumbel_muzero_policy`, whose sequential halving is planned for one budget
  alone, and whose noise is one draw for all problems of a batch."""
  noise = gumbel_scale * jax.vmap(lambda key: jax.random.gumbel(key, root.prior_logits.shape[1:]))(
    keys
  )
  select = functools.partial(
    mctx.gumbel_muzero_root_action_selection, max_num_considered_actions=root.prior_logits.shape[-1]
  )
  plans = [functools.partial(select, num_simulations=budget) for budget in budgets]
  return mctx.search(
    None,
    keys[0],  # of nothing that is used here
    root=root,
    recurrent_fn=recurrent,
    root_action_selection_fn=lambda *state: jax.lax.switch(which, plans, *state),
    interior_action_selection_fn=mctx.gumbel_muzero_interior_action_selection,
    num_simulations=max(budgets),
    extra_data=mctx.GumbelMuZeroExtraData(root_gumbel=noise),
    **settings,
  )


def _puct(keys, root, recurrent, *, most, exploration, dirichlet_fraction, **settings):
  """The search of `mctx.muzero_policy`, whose noise and ties are drawn for all problems of a batch
  at once."""
  prior = jax.nn.softmax(root.prior_logits)
  noise = jax.vmap(lambda key: jax.random.dirichlet(key, jnp.full(prior.shape[1:], 0.3)))(keys)
  mixed = jnp.where(prior > 0, (1 - dirichlet_fraction) * prior + dirichlet_fraction * noise, 0)

  def select(key, tree, node, depth):
    key = jax.random.fold_in(
      jax.random.fold_in(tree.extra_data, tree.node_visits[tree.ROOT_INDEX]), node
    )
    return mctx.muzero_action_selection(key, tree, node, depth, pb_c_init=exploration)

  return mctx.search(
    None,
    keys[0],
    root=root.replace(prior_logits=_prior_logits(mixed)),
    recurrent_fn=recurrent,
    root_action_selection_fn=functools.partial(select, depth=0),
    interior_action_selection_fn=select,
    num_simulations=most,
    extra_data=keys,
    **settings,
  )


def _prior_logits(prior: Array) -> Array:
  """mctx masks invalid candidates at the root only: inside, a finite minimum keeps them out of
  every argmax."""
  return jnp.where(prior > 0, jnp.log(jnp.maximum(prior, 1e-9)), jnp.finfo(jnp.float32).min)


def _reward_by(verify, reference, tree: Tree, ids: Array) -> Tree:
  """Rewards the finished ones among nodes `ids` [N] by the verifier; the critic's reward stays
  where it has no verdict."""
  ids = jnp.broadcast_to(ids, (tree.mask.shape[0], ids.shape[0]))
  verdict = verify(reference, tree, ids)
  verdict = jnp.where(jnp.isnan(verdict), tree_lib.pick(tree.reward, ids), verdict)
  verdict = jnp.where(tree_lib.pick(tree.terminal, ids, fill=False), verdict, 0)
  return tree.replace(reward=tree_lib.put(tree.reward, ids, verdict))


def _finish(model, params, keys, tree: Tree, cache, slot: int, *, sampling: Sampling) -> Tree:
  """Continues the likeliest leaf of each problem that has no finished solution to its end, in one
  chain of steps.

  The steps fill the first candidate of slots `slot` and on.
  """
  batch, slots, width = tree.mask.shape
  room = slots - slot
  leaf = jnp.where(_unsolved(tree), likeliest_leaf(tree), tree_lib.ROOT)[:, None]
  leaf = jnp.where(leaf > 0, leaf, tree_lib.NONE)
  path = tree_lib.path_to(tree, leaf)
  rows = decode_steps(
    model,
    params,
    keys,
    tree,
    cache,
    leaf,
    path,
    sampling=sampling,
    candidates=1,
    steps=room,
    depth=path.shape[-1] - 1,
  )
  rows = jax.tree.map(lambda x: x[:, 0], rows._replace(cache=None))
  chain = cut(rows, tree.tokens.shape[-1])
  used = chain.used[..., 0]
  made = 1 + jnp.arange(slot, slots) * width
  above = jnp.concatenate([leaf, jnp.broadcast_to(made[:-1], (batch, room - 1))], axis=1)
  # Column c of a path: the leaf's own, and from there on the chain's.
  depth = jnp.sum(path >= 0, axis=-1, keepdims=True)
  column, step = jnp.arange(path.shape[-1]), jnp.arange(room)[:, None]
  behind = column - depth
  own = jnp.where((behind >= 0) & (behind < step), 1 + (slot + behind) * width, tree_lib.NONE)
  whole = jnp.where(behind < 0, path, own)
  fields = {
    name: getattr(tree, name).at[:, slot:, :1].set(field)
    for name, field in chain.node_fields().items()
  }
  return tree.replace(
    expanded=tree.expanded.at[:, slot:].set(jnp.where(used, above, tree_lib.NONE)),
    path=tree.path.at[:, slot:].set(jnp.where(used[..., None], whole, tree_lib.NONE)),
    chain=room,
    **fields,
  )


def _unsolved(tree: Tree) -> Array:
  return ~jnp.any(tree_lib.finished(tree), axis=(1, 2))


def likeliest_leaf(tree: Tree) -> Array:
  """The unexpanded candidate of highest value that can still grow, [B]; 0 if there is none."""
  ids = tree_lib.node_ids(tree).reshape(-1)
  everyone = jnp.broadcast_to(ids, (tree.mask.shape[0], ids.shape[0]))
  taken = jnp.zeros((tree.mask.shape[0], ids.shape[0] + 1), bool)
  rows = jnp.arange(tree.mask.shape[0])[:, None]
  taken = taken.at[rows, jnp.maximum(tree.expanded, 0)].set(True)[:, 1:]
  free = tree_lib.expandable(tree, everyone) & ~taken
  best = jnp.argmax(jnp.where(free, tree.value.reshape(free.shape), -1), axis=-1)
  return jnp.where(jnp.any(free, axis=-1), 1 + best, 0)
