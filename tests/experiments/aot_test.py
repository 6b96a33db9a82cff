"""Compiling for TPUs that are not here: what a program sends is read right, and what cannot be is
one clear line."""

import json

import numpy as np
import pytest

from experiments.aot import cost, programs, table
from experiments.aot.chips import CHIPS, devices_of
from experiments.aot.hlo import Collective, bytes_of, collectives
from experiments.aot.programs import too_large
from o1jax import tree as tree_lib
from o1jax.model.compute import token_flops
from o1jax.model.variants import variant
from o1jax.runtime.config import ConfigError
from o1jax.runtime.mesh import build_mesh
from tests import jobs

PROGRAM = """HloModule jit_run, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%more (state: (s32[], f32[8,16])) -> pred[] {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  %limit = s32[] constant(7)
  %i = s32[] get-tuple-element(%state), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%ends (state: (s32[], f32[8,16])) -> pred[] {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  ROOT %done = pred[] constant(false)
}

%few (part: f32[8,16]) -> f32[8,16] {
  %part = f32[8,16]{1,0} parameter(0)
  ROOT %moved = f32[8,16]{1,0} collective-permute(%part), channel_id=7, source_target_pairs={{0,1},{1,0}}
}

%many (part: f32[8,16]) -> f32[8,16] {
  %part = f32[8,16]{1,0} parameter(0)
  %half = bf16[8,16]{1,0} convert(%part)
  %whole = bf16[32,16]{1,0} all-gather(%half), channel_id=8, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %scattered = f32[8,16]{1,0} reduce-scatter(%part), channel_id=9, replica_groups={{0,1},{2,3}}, to_apply=%add
}

%body (state: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  %part = f32[8,16]{1,0} get-tuple-element(%state), index=1
  %which = s32[] get-tuple-element(%state), index=0
  %chosen = f32[8,16]{1,0} conditional(%which, %part, %part), branch_computations={%few, %many}
  ROOT %both = (s32[], f32[8,16]{1,0}) tuple(%which, %chosen)
}

%fused (part: f32[4]) -> f32[4] {
  %part = f32[4]{0} parameter(0)
  ROOT %again = f32[4]{0} all-reduce(%part), channel_id=3, replica_groups=mesh['a'=2,'b'=4], device_ids=([8]) {'b'}
}

%slow (state: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  %vector = f32[4]{0} constant({1, 2, 3, 4})
  %again = f32[4]{0} fusion(%vector), kind=kLoop, calls=%fused
  ROOT %kept = (s32[], f32[8,16]{1,0}) tuple(%state)
}

ENTRY %main (start: (s32[], f32[8,16]), v: f32[4]) -> (s32[], f32[8,16]) {
  %start = (s32[], f32[8,16]{1,0}) parameter(0)
  %v = f32[4]{0} parameter(1)
  %begun = f32[4]{0} fusion(%v), kind=kLoop, calls=%fused, metadata={op_name="jit(run)/learn/add"}
  %loop = (s32[], f32[8,16]{1,0}) while(%start), condition=%more, body=%body, metadata={op_name="jit(run)/search/while"}
  ROOT %last = (s32[], f32[8,16]{1,0}) while(%loop), condition=%ends, body=%slow, metadata={op_name="a/turns_5/while"}
}
"""


def test_messages_of_a_program():
  """Loops multiply, the branch that sends most counts, and what an asynchronous message repeats
  counts once."""
  found = {one.kind: one for one in collectives(PROGRAM)}
  assert set(found) == {'all-reduce', 'all-gather', 'reduce-scatter'}
  assert found['all-gather'] == Collective('all-gather', '', size=2 * 32 * 16, group=4, turns=7)
  assert found['reduce-scatter'] == Collective(
    'reduce-scatter', '', size=4 * 8 * 16, group=2, turns=7
  )
  assert found['all-reduce'][2:] == (16, 4, 1)
  inside = PROGRAM.replace(
    '%begun = f32[4]{0} fusion(%v), kind=kLoop, calls=%fused', '%begun = f32[4]{0} negate(%v)'
  )
  (one,) = (one for one in collectives(inside) if one.kind == 'all-reduce')
  assert one.turns == 5


@pytest.mark.parametrize(
  'shape, size',
  [
    ('f32[2,3]{1,0:T(8,128)}', 24),
    ('(bf16[4], (s8[3], pred[]))', 12),
    ('s4[6]', 3),
    ('f32[]', 4),
    ('f8e4m3fn[5]', 5),
  ],
)
def test_bytes_of_a_shape(shape, size):
  assert bytes_of(shape) == size


def test_the_largest_tree_is_a_tree_and_its_flops_are_counted_token_by_token():
  slots, width, step, depth, prompt = 7, 2, 3, 3, 4
  asked, tree = cost.full_tree(2, slots, width, step, depth, prompt)
  assert tree_lib.generated_tokens(tree).tolist() == [slots * width * step] * 2
  np.testing.assert_array_equal(tree.path[0], tree_lib.path_to(tree, tree.expanded)[0])
  assert (tree_lib.parent_depth(tree)[0] == np.arange(slots) % depth).all()
  config = variant('nano', 10)
  context = [1 + i for i in range(prompt)]
  for slot in range(slots):
    context += [prompt + (slot % depth) * step + 1 + i for i in range(step)] * width
  expected = 2 * sum(token_flops(config, n) for n in context)
  assert cost.tree_flops(config, asked, tree) == pytest.approx(expected, rel=1e-6)
  _, tree = cost.full_tree(2, slots, width, step, depth, prompt, chain=depth - 1)
  assert (
    tree_lib.generated_tokens(tree).tolist()
    == [(slots * width - (depth - 1) * (width - 1)) * step] * 2
  )


def test_a_floor_is_what_the_chip_cannot_do_faster():
  chip = CHIPS['v5e']
  ring = [
    Collective('all-reduce', '', size=1000, group=4, turns=3),
    Collective('all-gather', '', 800, 8, 1),
  ]
  assert cost.sent(ring) == 3 * 1000 * 2 * 3 / 4 + 800 * 7 / 8
  floor = cost.floor(chip, flops=8 * chip.flops, chips=4, memory=3 * chip.bandwidth, messages=[])
  assert floor.bound == (3.0, 'memory') and floor.compute == 2.0


def test_what_does_not_fit_names_the_largest_buffers():
  told = (
    'Ran out of memory in memory space hbm. Used 15.86G of 15.75G hbm. Exceeded hbm capacity by '
    '114.89M.\n'
    '  1. Size: 1.96G\n     Operator: op_name="jit(f)/search/dot" source_line=3\n     Shape: '
    'f32[16,4,9]{2,1,0}\n'
    '  2. Size: 132.00M\n     Shape: bf16[64,2]{1,0}\n     XLA label: Argument\n'
  )
  line = too_large(told, '', 'the fused update', 'less')
  assert (
    '15.86G of 15.75G' in line
    and '1.96G f32[16,4,9] jit(f)/search/dot; 132.00M bf16[64,2].' in line
  )
  bare = 'the total memory required for HLO temporaries (94.26G) exceeds available HBM (15.75G).'
  line = too_large(bare, 'tensor<2x3xf32> tensor<40x5xbf16> tensor<f32>', 'it', 'less')
  assert '94.26G of 15.75G' in line and line.index('40x5xbf16') < line.index('2x3xf32')
  assert too_large('INTERNAL: something else', '', 'it', 'less') is None


def aot(*arguments, **how):
  return jobs.run(
    'experiments.aot', '--config=configs/quickstart.py:smoke', *arguments, XLA_FLAGS='', **how
  )


@pytest.mark.aot
def test_a_job_is_compiled_for_chips_that_are_not_here(tmp_path):
  out = tmp_path / 'aot.json'
  mesh = (
    '--config.mesh.data=1',
    '--config.mesh.fsdp=4',
    '--config.mesh.tensor=2',
    '--config.model.changes.kv_heads=2',
  )
  search = (
    '--config.learn.search.method=gumbel',
    '--config.learn.search.units=3',
    '--config.learn.tokens=0',
  )
  several = (
    '--config.learn.updates_per_call=2',
    '--config.learn.validate_every=2',
    '--config.learn.minibatches=1',
  )
  done = aot('--topology=v5e:2x4', *mesh, *search, *several, f'--out={out}', forked=False)
  assert done.returncode == 0, done.stderr
  fused, supervised = json.loads(out.read_text())
  assert 'per simulation' in done.stdout and 'HBM a chip' in done.stdout
  for row in (fused, supervised):
    assert row['chips'] == 8 and row['mesh'] == dict(data=1, fsdp=4, tensor=2)
    held = row['hbm']
    assert (
      held['total']
      == held['arguments'] + held['temporaries'] + held['code']
      < held['capacity']
      == 16 * 2**30
    )
    assert min(held.values()) > 0
    assert row['seconds'] > 0 and all(flops > 0 for flops in row['flops'].values())
    assert row['program'] in table.text(row)
  simulation = [message for message in fused['messages'] if message['phase'] == 'simulation']
  assert simulation and {message['group'] for message in simulation} == {2}
  length = 18  # tokens of a step
  assert {message['turns'] for message in simulation} <= {1, length, length - 1}
  assert {message['times'] for message in simulation} == {3}
  searching = [message for message in fused['messages'] if message['phase'] == 'search']
  # The parameters.
  assert {(m['kind'], m['turns']) for m in searching if m['group'] != 2} == {('all-gather', 1)}
  sent = sum(message['sent'] * message['times'] for message in fused['messages'])
  assert fused['floors']['learn']['network'] + fused['floors']['search'][
    'network'
  ] == pytest.approx(sent / 200e9)


@pytest.mark.aot
@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--topology=v5e:3x5',), ('v5e:3x5', 'such as v5e:4x4')),
    (('--topology=v5e:4x4x4',), ('v5e:4x4x4', 'such as v5e:4x4')),
    (('--topology=h100:8',), ('h100:8', 'v5e, v5p, v6e')),
    (
      ('--topology=v5e:2x2', '--config.mesh.fsdp=3', '--config.mesh.data=1'),
      ('fsdp=3', '4 devices'),
    ),
    (('--topology=v5e:2x2', '--programs=fusd'), ('fusd', 'fused, supervised')),
  ],
)
def test_what_cannot_be_is_one_line(arguments, words):
  done = aot(*arguments)
  last = done.stderr.strip().splitlines()[-1]
  assert (
    done.returncode == 1 and last.startswith('error: ') and all(word in last for word in words)
  ), done.stderr
  assert 'Traceback' not in done.stderr


def test_a_missing_libtpu_is_one_line(monkeypatch):
  monkeypatch.setattr(programs.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ConfigError, match=r"needs libtpu: pip install -e '\.\[aot\]'"):
    programs.run(None, 'v5e:2x2', ['fused'])


@pytest.mark.aot
@pytest.mark.parametrize(
  'topology, sizes', [('v6e:4x8', (2, 8, 2)), ('v6e:8x8', (4, 16, 1)), ('v5p:4x4x4', (1, 8, 8))]
)
def test_axes_may_share_one_of_the_chips_own(topology, sizes, monkeypatch):
  for name, value in (('TPU_SKIP_MDS_QUERY', '1'), ('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')):
    monkeypatch.setenv(name, value)
  _, devices = devices_of(topology)
  mesh = build_mesh(data=sizes[0], fsdp=sizes[1], tensor=sizes[2], devices=devices)
  assert tuple(mesh.shape.values()) == sizes and len({d.id for d in mesh.devices.flat}) == len(
    devices
  )
