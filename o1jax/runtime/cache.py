"""Compiled programs that outlive the job: one folder for all runs, kept by JAX's persistent cache.

JAX identifies an entry by the program, the compiler's options and jaxlib. It does not look at the
processor of a host, whose instructions XLA compiles for. So programs of each kind of processor have
a folder of their own. JAX reads and writes entries one by one and leaves a damaged one where it is.
So entries are checked here before they are used, and what is too much is deleted.
"""

import contextlib
import functools
import hashlib
import importlib
import json
import os
import pathlib
import platform
import subprocess
import warnings
import zlib

import jax
import jaxlib

from o1jax.runtime.storage import writing

LIMIT = 4 * 2**30  # bytes of all programs; beyond it the oldest are deleted
_ENTRIES = '*-cache'  # as JAX names them
_ZSTANDARD = b'\x28\xb5\x2f\xfd'  # the first bytes of such data
_CHECKED = 'checked.json'  # size and time of each entry of a folder that was found whole


def default_folder() -> pathlib.Path:
  """Where programs are kept unless said otherwise: `$XDG_CACHE_HOME/o1jax/programs`, or the same in
  ~/.cache."""
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path('~/.cache').expanduser()
  return pathlib.Path(root) / 'o1jax' / 'programs'


def keep_programs(folder: str | os.PathLike, *, limit: int = LIMIT) -> pathlib.Path:
  """Lets JAX look up programs in a folder before it compiles them, and keep there what it has
  compiled.

  Call it before the first program and after `XLA_FLAGS` are set. Damaged entries are deleted. So
  are the oldest of all folders below this one, until they take at most `limit` bytes.

  Args:
    folder: made if need be. Whoever may write there can make this process run any code.
    limit: bytes that all programs may take.

  Returns:
    The part of the folder for this processor, jaxlib and XLA's flags.

  Raises:
    StorageError: the folder cannot be written; nothing will be kept.
  """
  root = pathlib.Path(folder).expanduser().absolute()
  own = root / machine()
  with writing(root):
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    own.mkdir(exist_ok=True)
    probe = own / f'.probe{os.getpid()}'
    probe.touch()
    probe.unlink()
    _drop_damaged(own)
    _drop_oldest(root, limit)
  # A fault of an entry costs the time to compile it again, and no message in between. A damaged one
  # is deleted at the next start.
  warnings.filterwarnings('ignore', message='Error (reading|writing) persistent compilation cache')
  jax.config.update('jax_compilation_cache_dir', str(own))
  # A search of one question runs many small programs, which add up to seconds.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return own


def forget_programs() -> None:
  """Lets JAX compile everything anew, and keep nothing."""
  jax.config.update('jax_enable_compilation_cache', False)


def machine() -> str:
  """A digest of what compiled programs depend on besides themselves: the kind of processor and its
  features, jaxlib, and XLA's flags. Programs of another machine are never loaded."""
  found = _processor(), jaxlib.__version__, sorted(os.environ.get('XLA_FLAGS', '').split())
  return hashlib.sha256(repr(found).encode()).hexdigest()[:16]


@functools.cache
def _processor() -> tuple[str, ...]:
  """Model and features of all cores of this host, without what changes from moment to moment."""
  kinds = 'vendor_id', 'cpu family', 'model', 'model name', 'stepping', 'flags'
  kinds += 'Features', 'CPU implementer', 'CPU architecture', 'CPU variant', 'CPU part'
  found = {platform.machine(), platform.processor()}
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    found |= {line for line in lines if line.partition(':')[0].strip() in kinds}
  except OSError:
    # macOS tells it by a command.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
      asked = ('sysctl', 'machdep.cpu', 'hw.optional')
      found.add(subprocess.run(asked, capture_output=True, text=True, timeout=5).stdout)
  return tuple(sorted(found))


def _drop_damaged(folder):
  """Deletes entries that are not as JAX wrote them. Each is read once, and its size and time are
  noted. A later change of these is damage too, since JAX never writes an entry again."""
  try:
    checked = dict(json.loads((folder / _CHECKED).read_text()))
  except (OSError, ValueError, TypeError):
    checked = {}
  found = {}
  for path in folder.glob(_ENTRIES):
    with contextlib.suppress(FileNotFoundError):  # another job has just deleted it
      stat = path.stat()
      seen = [stat.st_size, stat.st_mtime_ns]
      if checked.get(path.name, seen) == seen and (path.name in checked or _whole(path)):
        found[path.name] = seen
      else:
        path.unlink()
  if found != checked:
    draft = folder / f'.{_CHECKED}.{os.getpid()}'
    draft.write_text(json.dumps(found))
    draft.replace(folder / _CHECKED)


def _whole(path) -> bool:
  """Whether an entry can be unpacked. JAX packs by zstandard where that is installed."""
  data = path.read_bytes()
  if not data.startswith(_ZSTANDARD):
    try:
      return bool(zlib.decompress(data))
    except zlib.error:
      return False
  for name in ('compression.zstd', 'zstandard'):
    with contextlib.suppress(ImportError):
      module = importlib.import_module(name)
      try:
        return bool(module.decompress(data))
      except (getattr(module, 'ZstdError', ValueError), ValueError):
        return False
  return False  # JAX could not unpack it either


def _drop_oldest(root, limit):
  entries = []
  for path in root.glob(f'*/{_ENTRIES}'):
    with contextlib.suppress(FileNotFoundError):
      stat = path.stat()
      entries.append((stat.st_mtime_ns, stat.st_size, path))
  over = sum(size for _, size, _ in entries) - limit
  for _, size, path in sorted(entries):
    if over <= 0:
      break
    path.unlink(missing_ok=True)
    over -= size
