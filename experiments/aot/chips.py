"""What the chips of a TPU topology can do, as their maker publishes it (cloud.google.com/tpu/docs,
November 2026)."""

from typing import NamedTuple

from o1jax.runtime.config import ConfigError


class Chip(NamedTuple):
  """memory: HBM in bytes; flops: of bfloat16 products, a second; bandwidth: of HBM, bytes a second;
  links: bytes a second and direction, of all links to other chips together."""

  memory: float
  flops: float
  bandwidth: float
  links: float


CHIPS = {
  'v5e': Chip(16 * 2**30, 197e12, 819e9, 200e9),
  'v5p': Chip(95 * 2**30, 459e12, 2765e9, 600e9),
  'v6e': Chip(32 * 2**30, 918e12, 1640e9, 400e9),
}


def devices_of(topology: str) -> tuple[Chip, list]:
  """The chip of a topology such as 'v5e:4x4', and its devices, which are all absent.

  Raises:
    ConfigError: there is no such topology.
  """
  from jax.experimental import topologies  # loads libtpu

  kind, _, grid = topology.partition(':')
  if kind not in CHIPS or len(grid.split('x')) != (3 if kind == 'v5p' else 2):
    raise ConfigError(
      f'--topology={topology}: give one of {", ".join(CHIPS)} and a grid, such as v5e:4x4 or '
      'v5p:2x2x4'
    )
  try:
    return CHIPS[kind], list(
      topologies.get_topology_desc(platform='tpu', topology_name=topology).devices
    )
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise ConfigError(
      f'--topology={topology} is not known to libtpu ({reason}): give a grid such as v5e:4x4'
    ) from None
