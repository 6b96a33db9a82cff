"""The command line: what a config does not know is an error of one line."""

import re
import sys

from absl import app


def parse_config(argv, config):
  """Parses the command line; what the flag `config` does not know is an error of one line, too."""
  try:
    rest = app.parse_flags_with_usage(argv)
    _ = config.value.keys  # a file that could not be read is an error only once it is asked for
    return rest
  except (
    AttributeError,
    KeyError,
  ) as error:  # what ml_collections raises for a key that a locked config does not have
    key, *others = re.findall(r'\w+', str(error).replace('\\n', ' '))
    hint = (
      f'did you mean {others[3]!r}?'
      if others[:3] == ['Did', 'you', 'mean']
      else 'the config file has them all'
    )
    sys.exit(f'error: the config has no key {key!r}: {hint}')
  except OSError as error:
    sys.exit(f'error: --config: {str(error).splitlines()[-1].strip()}')
