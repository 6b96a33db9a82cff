"""The optimizer: Muon or AdamW with warm-up and cosine decay."""

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from o1jax.types import Array, Metrics, Params, Record, TrainState

OPTIMIZERS = ('muon', 'adamw')
LEARNS = ('policy', 'critic')  # the roles that learn, unless a stage says otherwise
# The five equal steps of Jordan et al. (2024), one row each: optax loops over rows, and would
# unroll a single one five times.
NEWTON_SCHULZ = ((3.4445, -4.7750, 2.0315),) * 5


def build_optimizer(
  *,
  learning_rate: float,
  steps: int,
  name: str = 'muon',
  adam_learning_rate: float = 3e-3,
  warmup: int = 20,
  end_fraction: float = 0.1,
  weight_decay: float = 0.01,
  clip_norm: float = 1.0,
  beta2: float = 0.98,
) -> optax.GradientTransformation:
  """Linear warm-up, cosine to `end_fraction` of the peak, global-norm clipping, decay on matrices
  only.

  Args:
    learning_rate: peak, of the matrices inside blocks with 'muon', of all with 'adamw'.
    steps: optimizer steps of the whole schedule.
    name: 'muon' (Jordan et al. 2024; optax.contrib) orthogonalises the momentum of matrices and
      leaves the embedding and the norms to Adam; 'adamw' (arXiv:1711.05101) is for all.
    adam_learning_rate: peak of Adam beside Muon.
    warmup: steps, at most half of them.
    end_fraction: last learning rate over the peak.
    weight_decay: on matrices; with 'muon' on those inside blocks only.
    clip_norm: of the whole gradient.
    beta2: of Adam.

  Raises:
    ValueError: the name is unknown, or a number is one that no schedule or rule can use.
  """
  if name not in OPTIMIZERS:
    raise ValueError(f'optimizer {name!r} is unknown; choose one of {", ".join(OPTIMIZERS)}')
  at_least_0 = dict(
    learning_rate=learning_rate,
    adam_learning_rate=adam_learning_rate,
    warmup=warmup,
    end_fraction=end_fraction,
    weight_decay=weight_decay,
  )
  bad = {setting: value for setting, value in at_least_0.items() if value < 0}
  if bad:
    setting, value = bad.popitem()
    raise ValueError(f'optimizer.{setting}={value}: give at least 0')
  if clip_norm <= 0:
    raise ValueError(f'optimizer.clip_norm={clip_norm}: give more than 0')
  if not 0 <= beta2 < 1:
    raise ValueError(f'optimizer.beta2={beta2}: give a number in [0, 1)')
  warmup = min(warmup, max(steps // 2, 1))

  def schedule(peak):
    return optax.warmup_cosine_decay_schedule(
      0.0, peak, warmup, max(steps, warmup + 1), peak * end_fraction
    )

  if name == 'adamw':
    rule = optax.adamw(schedule(learning_rate), b2=beta2, weight_decay=weight_decay, mask=_matrices)
  else:
    rule = optax.contrib.muon(
      schedule(learning_rate),
      adam_learning_rate=schedule(adam_learning_rate),
      adam_b2=beta2,
      weight_decay=weight_decay,
      muon_weight_dimension_numbers=_block_matrices,
      ns_coeffs=NEWTON_SCHULZ,
    )
  return optax.chain(optax.clip_by_global_norm(clip_norm), rule)


def _matrices(params):
  # By name, not by rank: with scanned layers the scales of norms and biases are stacked into
  # matrices.
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key in ('kernel', 'embedding'), params
  )


def _block_matrices(params):
  """Muon's dimension numbers: [.., in, out] for kernels, None (Adam) for the embedding and the
  scales of norms."""

  def numbers(path, x):
    last = x.ndim - 1
    return optax.contrib.MuonDimensionNumbers(last - 1, last) if path[-1].key == 'kernel' else None

  return jax.tree_util.tree_map_with_path(numbers, params)


def init_state(
  params: Params,
  optimizer: optax.GradientTransformation,
  *,
  frozen: Params | None = None,
  learns: tuple[str, ...] = LEARNS,
  record: Record | None = None,
) -> TrainState:
  """Update 0.

  Args:
    params: by role; roles that do not learn are read by searches and losses, and stay.
    optimizer: keeps a state of the roles that learn.
    frozen: what losses read and no gradient reaches, by role.
    learns: the roles that learn.
    record: of no problem tried yet, where the draw of problems reads it.
  """
  learning = {role: params[role] for role in learns}
  return TrainState(
    update=jnp.int32(0),
    params=params,
    optimizer=optimizer.init(learning),
    frozen=frozen or {},
    record=record,
  )


def apply_gradients(
  state: TrainState, grads: Params, optimizer: optax.GradientTransformation, *, loss: Array
) -> tuple[TrainState, Metrics]:
  """One optimizer step. It does not count as an update by itself.

  A step whose loss or gradient norm is not finite changes nothing.

  Args:
    state: before the step.
    grads: of the roles that learn; other roles and what is frozen stay as they are.
    optimizer: which made `state.optimizer`.
    loss: [], of which these are the gradients.

  Returns:
    The state, and the metrics gradient_norm [] and skipped [] (1 where the step changed nothing,
    else 0).
  """
  norm = optax.global_norm(grads)
  good = jnp.isfinite(norm) & jnp.isfinite(loss)
  before = {role: state.params[role] for role in grads}, state.optimizer
  changes, opt_state = optimizer.update(grads, state.optimizer, before[0])
  after = optax.apply_updates(before[0], changes), opt_state
  # A choice, not a branch. It fuses into the loops that write the new values; a branch would copy
  # the old ones.
  learned, opt_state = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, before)
  state = state.replace(params=state.params | learned, optimizer=opt_state)
  return state, {'gradient_norm': norm, 'skipped': 1 - good.astype(jnp.float32)}
