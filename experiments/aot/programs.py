"""Compiling the updates of a config for the chips of a topology."""

import importlib.util
import math
import pathlib
import re
import tempfile
import time

import jax

from experiments.aot import table
from experiments.aot.chips import devices_of
from o1jax.recipes.build import build, fused_mesh, supervised_mesh
from o1jax.recipes.programs import lower_searching, lower_supervised
from o1jax.runtime.config import ConfigError, check_config, require

# Ways to make a program fit.
ADVICE = dict(
  fused='raise config.mesh.fsdp or tensor or config.learn.minibatches, '
  'lower config.learn.batch, or take more chips',
  supervised='raise config.mesh.fsdp or tensor, lower config.pretrain.batch, or take more chips',
)
PROGRAMS = tuple(ADVICE)


def run(config, topology: str, programs: list[str]) -> list[dict]:
  """Compiles the programs, and prints and returns what is known of each.

  Raises:
    ConfigError: the config does not fit itself or the topology, libtpu is missing, or a program
      does not fit a chip.
  """
  unknown = [name for name in programs if name not in PROGRAMS]
  require(not unknown, f'--programs={",".join(unknown)}: choose from {", ".join(PROGRAMS)}')
  missing = importlib.util.find_spec('libtpu') is None
  require(
    not missing, "compiling for a TPU needs libtpu: pip install -e '.[aot]' (no TPU is needed)"
  )
  check_config(config)
  chip, devices = devices_of(topology)
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    experiment = build(config, pathlib.Path(folder), devices=devices)
    for name in programs:
      if name == 'fused':
        section = config.learn.copy_and_resolve_references()
        section.updates_per_call = 1  # more of them would be a loop around the same
        mesh, lower = fused_mesh(config, section, devices), lower_searching
      else:
        section, mesh, lower = (
          config.pretrain,
          supervised_mesh(config, config.pretrain, devices),
          lower_supervised,
        )
      began = time.monotonic()
      lowered, _ = lower(experiment, section, mesh)
      try:
        compiled = lowered.compile()
      except jax.errors.JaxRuntimeError as error:
        told = too_large(
          str(error), lowered.as_text(), f'the {name} update on {topology}', ADVICE[name]
        )
        raise (ConfigError(told) if told else error) from None
      rows.append(
        table.describe(
          experiment,
          section,
          mesh,
          chip,
          compiled,
          program=name,
          topology=topology,
          seconds=time.monotonic() - began,
        )
      )
      print(table.text(rows[-1]), flush=True)
  return rows


def too_large(text: str, arrays: str, name: str, advice: str) -> str | None:
  """The compiler's words for a program that does not fit a chip, in one line; None if it says
  something else.

  Args:
    text: of its error.
    arrays: text of the program before it was compiled, for the largest arrays where the error names
      no buffers.
    name: of the program and its topology.
    advice: what to do.
  """
  used = re.search(
    r'Used ([\d.]+\w) of ([\d.]+\w) hbm|\(([\d.]+\w)\) exceeds available HBM \(([\d.]+\w)\)', text
  )
  if not used:
    return None
  taken, there = filter(None, used.groups())
  buffers = re.findall(r'Size: ([\d.]+\w+)\s(.*?)Shape: (\S+?)\{', text, re.DOTALL)
  if buffers:
    scope = lambda told: ''.join(re.findall(r'op_name="([^"]*)"', told)[:1])[-60:]
    largest = [f'{size} {shape} {scope(told)}'.strip() for size, told, shape in buffers[:4]]
  else:
    found = {
      kind: math.prod(map(int, kind.split('x')[:-1]))
      for kind in re.findall(r'tensor<([\dx]+x\w+)>', arrays)
    }
    largest = [
      f'{kind} (on all chips together)' for kind in sorted(found, key=found.get, reverse=True)[:4]
    ]
  told = (
    f'{name} does not fit a chip: it takes {taken} of {there} of HBM. Largest: {"; ".join(largest)}'
  )
  return f'{told}. To do: {advice}'
