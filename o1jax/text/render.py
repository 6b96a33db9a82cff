"""A process that renders chat templates: `python -m o1jax.text.render`.

A template is a program, written by whoever published a model. So it runs in jinja2's sandbox, in a
process of its own with little memory that cannot open files, sockets or processes.
`o1jax.text.chat` ends the process when its time is over.

The process reads one JSON object from its standard input: `template`, `conversations` (each the
template's variables), `now` (ISO 8601) and the limits. It writes one to its standard output:
`texts`, or `error`, a line.
"""

import contextlib
import datetime
import json
import resource
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox


class _Generation(jinja2.ext.Extension):
  """transformers' `{% generation %}`, which marks what an assistant says. Here it has no effect on
  its content."""

  tags = {'generation'}

  def parse(self, parser):
    next(parser.stream)
    return parser.parse_statements(('name:endgeneration',), drop_needle=True)


def environment(now: datetime.datetime) -> jinja2.sandbox.ImmutableSandboxedEnvironment:
  """The environment that chat templates expect: jinja2 as `transformers` sets it up
  (utils/chat_template_utils.py)."""
  jinja = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
  )

  def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
      x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  jinja.filters['tojson'] = tojson
  jinja.globals |= dict(raise_exception=raise_exception, strftime_now=now.strftime)
  return jinja


def rendered(template: str, conversations: list[dict], *, now: str, characters: int) -> dict:
  """The texts of the conversations, or an error as a line. All texts together have at most
  `characters` characters."""
  texts = []
  try:
    made = environment(datetime.datetime.fromisoformat(now)).from_string(template)
    for variables in conversations:
      texts.append(made.render(variables))
      characters -= len(texts[-1])
      if characters < 0:
        return dict(error='it writes too much text')
  except MemoryError:
    return dict(error='it takes too much memory')
  except jinja2.exceptions.SecurityError as error:
    return dict(error=f'it does what no template may: {error}')
  except Exception as error:  # templates can raise nearly everything
    kind = '' if type(error) is jinja2.TemplateError else f'{type(error).__name__}: '
    return dict(error=f'{kind}{error}')
  return dict(texts=texts)


def main() -> None:
  """Gives up the rights that a template does not need, renders, and ends."""
  asked = json.load(sys.stdin.buffer)
  # A template that fails makes jinja2 import what it imports late. Soon no file can be opened, so
  # one fails here.
  rendered("{{ '\\n' + undefined.more }}", [{}], now=asked['now'], characters=1)
  limits = asked.pop('limits')
  for name, limit in limits.items():
    # A lower limit is set already, or the system knows no such limit.
    with contextlib.suppress(ValueError):
      resource.setrlimit(getattr(resource, name), (limit, limit))
  told = rendered(**asked)
  if 'error' in told:
    told['error'] = ' '.join(told['error'].split())[:500]
  sys.stdout.write(json.dumps(told))


if __name__ == '__main__':
  main()
