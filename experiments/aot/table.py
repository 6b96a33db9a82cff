"""The numbers of a compiled update, and their text."""

import collections

from experiments.aot import cost
from experiments.aot.chips import Chip
from experiments.aot.hlo import Collective, collectives
from o1jax import tree as tree_lib
from o1jax.recipes.experiment import Experiment
from o1jax.runtime.config import ConfigDict
from o1jax.runtime.mesh import problem_shards
from o1jax.search import SEARCHES


def describe(
  experiment: Experiment,
  section: ConfigDict,
  mesh,
  chip: Chip,
  compiled,
  *,
  program: str,
  topology: str,
  seconds: float,
) -> dict:
  """What each chip would hold, do and send in one update of a config section, as plain values.

  Args:
    experiment: the job.
    section: of its config, for the update.
    mesh: whose devices it was compiled for.
    chip: what one of them can do.
    compiled: the update.
    program: 'fused' or 'supervised'.
    topology: name of the devices.
    seconds: spent on lowering and compiling.
  """
  messages = collectives(compiled.as_text())
  memory = compiled.memory_analysis()
  # The peak counts: the sum of all temporaries may pass the capacity, since they need not exist at
  # one time.
  held = dict(
    arguments=memory.argument_size_in_bytes,
    temporaries=memory.peak_memory_in_bytes - memory.argument_size_in_bytes,
    code=memory.generated_code_size_in_bytes,
  )
  phases = (_fused if program == 'fused' else _supervised)(experiment, section, mesh, messages)
  floors = {
    name: cost.floor(chip, chips=mesh.size, flops=flops, memory=read, messages=told)
    for name, (flops, read, told) in phases.items()
  }
  return dict(
    program=program,
    topology=topology,
    chips=mesh.size,
    mesh=dict(mesh.shape),
    compile_seconds=seconds,
    hbm=held | dict(total=sum(held.values()), capacity=chip.memory),
    flops={name: flops for name, (flops, _, _) in phases.items()},
    messages=_grouped(messages, section.search.units if program == 'fused' else 1),
    floors={name: floor._asdict() for name, floor in floors.items()},
    seconds=sum(floor.bound[0] for floor in floors.values()),
  )


def _fused(experiment, section, mesh, messages):
  """FLOPs, bytes that a chip reads and messages of the two phases, for the largest trees that the
  search can leave."""
  config, shapes, search = experiment.model.config, experiment.config.shapes, section.search
  sizes = shapes.step_length, shapes.max_steps, shapes.prompt_length
  given = dict(zip(('step_length', 'max_steps', 'prompt'), sizes))
  row = SEARCHES[search.method]
  asked = dict(candidates=search.get('candidates', 1), max_steps=shapes.max_steps)
  room = row.room(search.units, **asked, **row.own(search))
  if row.independent:
    found = cost.full_tree(1, search.units * shapes.max_steps, 1, *sizes)
    learned = cost.full_tree(search.units, shapes.max_steps, 1, *sizes)  # each chain apart
    parts = cost.decoding_of_chains(chains=search.units, **given)
  else:
    found = learned = cost.full_tree(1, room.slots, room.candidates, *sizes, chain=room.last)
    expansions = (room.slots - room.last) // room.width
    parts = cost.decoding_of_tree(expansions, room.candidates, finish=room.last > 0, **given)
  if section.tokens:
    learned = learned[0], tree_lib.crop(learned[1], section.tokens)
  made, learned = (section.batch * cost.tree_flops(config, *trees) for trees in (found, learned))
  read = cost.decode_bytes(
    config, parts, problems=section.batch / problem_shards(mesh), ways=mesh.shape['tensor']
  )
  return dict(
    search=(made, read, [one for one in messages if _phase(one) != 'learn']),
    learn=(3 * learned, 0.0, [one for one in messages if _phase(one) == 'learn']),
  )


def _supervised(experiment, section, mesh, messages):
  length = experiment.data.instruction.tokens.shape[1]
  return dict(learn=(cost.row_flops(experiment.model.config, section.batch, length), 0.0, messages))


def _phase(one: Collective) -> str:
  if 'simulations' in one.scope:
    return 'simulation'
  return 'search' if 'search' in one.scope.split('/') else 'learn'


def _grouped(messages: list[Collective], simulations: int) -> list[dict]:
  """Messages of the same phase, kind, group and number of turns added up, with the bytes that a
  chip sends in them."""
  groups = collections.defaultdict(list)
  for one in messages:
    groups[_phase(one), one.kind, one.group, one.turns].append(one)
  rows = []
  for (phase, kind, group, turns), some in groups.items():
    times = simulations if phase == 'simulation' else 1
    rows.append(
      dict(
        phase=phase,
        kind=kind,
        group=group,
        turns=turns // times,
        count=len(some),
        times=times,
        sent=cost.sent(some) / times,
      )
    )
  return sorted(
    rows, key=lambda row: (row['phase'] != 'simulation', row['phase'], -row['sent'] * row['times'])
  )


def text(row: dict) -> str:
  """The numbers of an update as text."""
  mesh = ' '.join(f'{axis}={size}' for axis, size in row['mesh'].items())
  held = row['hbm']
  lines = [
    f'{row["program"]} update on {row["topology"]}: {row["chips"]} chips, {mesh} '
    f'(compiled in {row["compile_seconds"]:.0f} s)',
    f'  HBM a chip: {size(held["total"])} of {size(held["capacity"])}, '
    f'{held["total"] / held["capacity"]:.0%}: arguments {size(held["arguments"])}, temporaries '
    f'{size(held["temporaries"])}, code {size(held["code"])}',
    '  FLOPs of the model: '
    + ', '.join(f'{name} {flops:.3g}' for name, flops in row['flops'].items()),
    '  a chip sends at most:                        messages x turns, in groups of, together; in '
    'an update',
  ]
  for one in row['messages']:
    per = 'per simulation' if one['phase'] == 'simulation' else f'per update ({one["phase"]})'
    lines.append(
      f'    {per:22} {one["kind"]:20} {one["count"]:4} x {one["turns"]:6} {one["group"]:6}  '
      f'{size(one["sent"]):>8} {size(one["sent"] * one["times"]):>8}'
    )
  for name, floor in row['floors'].items():
    longest = max(floor, key=floor.get)
    told = ', '.join(f'{part} {seconds:.3g}' for part, seconds in floor.items())
    lines.append(f'  {name} takes {floor[longest]:.3g} s at the least ({longest}): {told}')
  return '\n'.join([*lines, f'  an update takes {row["seconds"]:.3g} s at the least'])


def size(count: float) -> str:
  """Bytes for people."""
  power = min(int(max(count, 1)).bit_length() // 10, 3)
  return f'{count / 1024**power:.3g} {("B", "kB", "MB", "GB")[power]}'
