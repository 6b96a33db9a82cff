"""Facts about a file that hold for any format."""

import pathlib

_POINTER = b'version https://git-lfs.github.com/spec/'


def is_pointer(path: str | pathlib.Path) -> bool:
  """Whether a file is the pointer that Git LFS leaves where the file itself was not fetched."""
  with open(path, 'rb') as file:
    return file.read(len(_POINTER)) == _POINTER
