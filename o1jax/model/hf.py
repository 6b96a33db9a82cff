"""Weights of Hugging Face `transformers`, read and written as safetensors. `model.families` lists
the families.

Both ways move a piece of a tensor at a time, so the host never holds a model.
"""

import functools
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.files import is_pointer
from o1jax.model.families import settings_of, unscaled
from o1jax.model.sharding import gather_to_host
from o1jax.model.variants import ModelConfig

PIECE = 2**23  # most bytes of a tensor that the host holds when it reads one
FILE = 2**31  # most bytes of a file that `save` writes
_INDEX, _SINGLE = 'model.safetensors.index.json', 'model.safetensors'
_LINEAR = dict(
  query='self_attn.q_proj',
  key='self_attn.k_proj',
  value='self_attn.v_proj',
  out='self_attn.o_proj',
  gate='mlp.gate_proj',
  up='mlp.up_proj',
  down='mlp.down_proj',
)
_BIASES = dict(
  query_bias='self_attn.q_proj', key_bias='self_attn.k_proj', value_bias='self_attn.v_proj'
)
_HEAD_NORMS = dict(query_norm='self_attn.q_norm', key_norm='self_attn.k_norm')
_NORMS = dict(attention_norm='input_layernorm', mlp_norm='post_attention_layernorm')
_FOUR_NORMS = dict(
  attention_norm='input_layernorm',
  attention_post_norm='post_attention_layernorm',
  mlp_norm='pre_feedforward_layernorm',
  mlp_post_norm='post_feedforward_layernorm',
)


class Tensor(NamedTuple):
  """One of their tensors, and the place of ours: its path in the policy's parameters, and its layer
  where layers are stacked.

  `turned`: theirs is [out, in]. `added` is added to theirs, since Gemma's norms multiply by 1 + w.
  """

  name: str
  shape: tuple[int, ...]
  path: tuple[str, ...]
  layer: int | None = None
  turned: bool = False
  added: float = 0.0


def tensors(config: ModelConfig) -> Iterator[Tensor]:
  """All tensors of a model, in the order of its layers."""
  c, one = config, float(config.post_norms)
  yield Tensor('model.embed_tokens.weight', (c.vocab_size, c.width), ('trunk', 'embedding'))
  heads, kv = c.heads * c.head_width, c.kv_heads * c.head_width
  outs = dict(
    query=heads, key=kv, value=kv, out=c.width, gate=c.mlp_width, up=c.mlp_width, down=c.width
  )
  ins = dict(out=heads, down=c.mlp_width)
  for i in range(c.layers):
    block, layer = ('blocks', i) if c.scan_layers else (f'block_{i}', None)
    tensor = lambda there, shape, ours, kind, block=block, layer=layer, i=i, **how: Tensor(
      f'model.layers.{i}.{there}', shape, ('trunk', block, ours, kind), layer, **how
    )
    for ours, there in _LINEAR.items():
      yield tensor(
        f'{there}.weight', (outs[ours], ins.get(ours, c.width)), ours, 'kernel', turned=True
      )
    for ours, there in (_BIASES if c.qkv_bias else {}).items():
      yield tensor(f'{there}.bias', (outs[ours.removesuffix('_bias')],), ours, 'bias')
    for ours, there in (_FOUR_NORMS if c.post_norms else _NORMS).items():
      yield tensor(f'{there}.weight', (c.width,), ours, 'scale', added=one)
    for ours, there in (_HEAD_NORMS if c.qk_norm else {}).items():
      yield tensor(f'{there}.weight', (c.head_width,), ours, 'scale', added=one)
  yield Tensor('model.norm.weight', (c.width,), ('trunk', 'last_norm', 'scale'), added=one)
  if not c.tied_head:
    yield Tensor('lm_head.weight', (c.vocab_size, c.width), ('head', 'kernel'), turned=True)


def load(folder: str | pathlib.Path, config: ModelConfig, like: Any) -> Any:
  """A policy's parameters from a folder. Each piece goes straight to the devices that hold it.

  Args:
    folder: with model.safetensors, or several such files and their index.
    config: `families.read_config` of the folder, with any `scan_layers`.
    like: what to make: `jax.ShapeDtypeStruct`s of the policy's parameters, with or without a
      sharding.

  Raises:
    ValueError: a file is missing, truncated or not safetensors, or tensors are missing, left over
      or of another shape. The message lists them all.
  """
  files = check(folder, config)
  made = jax.tree.map(_empty, like)
  for tensor in tensors(config):
    *above, last = tensor.path
    part = functools.reduce(lambda part, key: part[key], above, made)
    for first, piece in _pieces(files[tensor.name], tensor.name):
      part[last] = _writer(part[last].sharding)(
        part[last], piece, first, tensor.added, tensor.layer or 0, turned=tensor.turned
      )
      part[last].block_until_ready()  # else pieces would pile up
  return made


def _empty(like):
  make = lambda: jnp.zeros(like.shape, like.dtype)
  return jax.jit(make, out_shardings=like.sharding)()


@functools.cache
def _writer(sharding):
  def write(whole, piece, first, added, layer, *, turned):
    piece = piece.astype(whole.dtype) + added
    at = (first, *[0] * (piece.ndim - 1))
    if turned:
      piece, at = piece.T, at[::-1]
    if piece.ndim < whole.ndim:
      piece, at = piece[None], (layer, *at)
    return jax.lax.dynamic_update_slice(whole, piece, at)

  return jax.jit(write, donate_argnums=0, static_argnames='turned', out_shardings=sharding)


def _pieces(stored, name):
  """(first row, rows) of a tensor, a `PIECE` at a time. Each piece opens the file anew, because
  what was read stays mapped while the file is open."""
  few = max(PIECE // (4 * math.prod(stored.shape[1:])), 1)
  for at in range(0, stored.shape[0], few):
    with _opened(stored.path) as file:
      yield at, np.array(file.get_slice(name)[at : min(at + few, stored.shape[0])])


class Stored(NamedTuple):
  """The file of a tensor, and its shape."""

  path: pathlib.Path
  shape: tuple[int, ...]


def _opened(path):
  try:
    import safetensors
  except ImportError:
    raise ValueError("weights of transformers need safetensors: pip install -e '.[hf]'") from None
  if not path.exists():
    raise ValueError(f'{path} is not there: copy all files of the model')
  try:
    return safetensors.safe_open(path, framework='np')
  except (safetensors.SafetensorError, OSError) as error:
    if is_pointer(path):
      raise ValueError(
        f'{path} is a pointer of Git LFS and not the file itself: run git lfs pull'
      ) from None
    raise ValueError(f'{path} is no whole file of safetensors ({error}): copy it again') from None


def _files(folder: pathlib.Path) -> dict[str, Stored]:
  """The tensors of a folder, by name."""
  index = folder / _INDEX
  if index.exists():
    try:
      names = sorted(set(json.loads(index.read_text())['weight_map'].values()))
      paths = [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f'{index} is no index of safetensors ({type(error).__name__}: {error}): copy it again'
      ) from None
  else:
    paths = [folder / _SINGLE]
  found = {}
  for path in paths:
    with _opened(path) as file:
      found |= {name: Stored(path, tuple(file.get_slice(name).get_shape())) for name in file.keys()}
  return found


def check(folder: str | pathlib.Path, config: ModelConfig) -> Mapping[str, 'Stored']:
  """The tensors of a folder, by name; none is read. ValueError as in `load` where they are not
  those of the config."""
  files = _files(pathlib.Path(folder))
  wanted = {tensor.name: tensor.shape for tensor in tensors(config)}
  needless = lambda name: (
    name.endswith('.rotary_emb.inv_freq') or (name == 'lm_head.weight' and config.tied_head)
  )
  kinds = {
    'missing': [name for name in wanted if name not in files],
    'left over': [name for name in files if name not in wanted and not needless(name)],
    'of another shape': [
      f'{name} {list(files[name].shape)} and not {list(shape)}'
      for name, shape in wanted.items()
      if name in files and files[name].shape != shape
    ],
  }
  told = [f'{len(names)} {kind}: {", ".join(names)}' for kind, names in kinds.items() if names]
  if told:
    raise ValueError(f'the tensors are not those that config.json describes; {"; ".join(told)}')
  return files


def save(
  folder: str | pathlib.Path, config: ModelConfig, policy: Any, *, max_length: int, dtype: str = ''
) -> None:
  """Writes a policy as a folder that `transformers` opens: config.json and safetensors. The critic
  is left out.

  Args:
    folder: empty, or not there yet. Each of several processes writes a folder of its own.
    config: of the policy.
    policy: its parameters.
    max_length: tokens of the longest text.
    dtype: of the tensors; '' = the config's.

  Raises:
    ValueError: the folder is not empty, or no model of transformers is like this one.
    OSError: it cannot be written.
  """
  from safetensors.numpy import save_file

  folder = pathlib.Path(folder)
  settings = settings_of(config, max_length=max_length) | dict(torch_dtype=dtype or config.dtype)
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(f'{folder} is not empty: choose another folder')
  folder.mkdir(parents=True, exist_ok=True)
  made = exported(config, policy, dtype=dtype or config.dtype)
  places, total = [], 0
  for number, group in enumerate(_groups(made), 1):
    save_file(group, folder / f'{number}.part', metadata={'format': 'pt'})
    places.append(list(group))
    total += sum(x.nbytes for x in group.values())
  names = [f'model-{i:05}-of-{len(places):05}.safetensors' for i in range(1, len(places) + 1)]
  names = names if len(names) > 1 else [_SINGLE]
  for number, name in enumerate(names, 1):
    (folder / f'{number}.part').rename(folder / name)
    # safetensors makes files that other users cannot read.
    (folder / name).chmod(folder.stat().st_mode & 0o666)
  if len(names) > 1:
    where = {tensor: name for name, group in zip(names, places) for tensor in group}
    (folder / _INDEX).write_text(
      json.dumps(dict(metadata=dict(total_size=total), weight_map=where), indent=2) + '\n'
    )
  # Written last: it makes the folder a model.
  (folder / 'config.json').write_text(json.dumps(settings, indent=2) + '\n')


def exported(
  config: ModelConfig, policy: Any, *, dtype: str = 'float32'
) -> Iterator[tuple[str, np.ndarray]]:
  """Their tensors by name, made from ours one by one. Where no family scales embeddings as we do,
  they are those of `families.unscaled`."""
  theirs = config
  if config.scaled_embedding and not config.post_norms:
    theirs = unscaled(config)
  for tensor in tensors(theirs):
    if config.tied_head and tensor.path == ('head', 'kernel'):
      tensor, scale = tensor._replace(path=('trunk', 'embedding'), turned=False), 1.0
    else:
      scale = (
        config.width**0.5 if theirs is not config and tensor.path == ('trunk', 'embedding') else 1.0
      )
    part = functools.reduce(lambda part, key: part[key], tensor.path, policy)
    part = np.asarray(gather_to_host(part if tensor.layer is None else part[tensor.layer]))
    part = (part.T if tensor.turned else part) * np.float32(scale) - np.float32(tensor.added)
    yield tensor.name, np.ascontiguousarray(part.astype(jnp.dtype(dtype)))


def _groups(made: Iterable[tuple[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
  """Tensors for one file after the other: each has at most `FILE` bytes, or a single tensor."""
  group = {}
  for name, x in made:
    if group and sum(y.nbytes for y in group.values()) + x.nbytes > FILE:
      yield group
      group = {}
    group[name] = x
  yield group
