"""The Python examples of README.md run, one after the other as a reader would."""

import pathlib
import re

import jax

README = (pathlib.Path(__file__).resolve().parent.parent / 'README.md').read_text(encoding='utf-8')
EXAMPLES = re.findall(r'^```python\n(.*?)^```', README, re.S | re.M)


def test_the_examples_run_and_show_what_readme_says(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  names = {}
  search, loss = EXAMPLES
  exec(search, names)
  drawn = capsys.readouterr().out
  assert names['problems'][0].prompt.strip() in drawn
  # Eight simulations after the root's own expansion.
  assert names['tree'].visits[:, 0].sum(-1).tolist() == [8] * 4
  exec(loss, names)
  assert capsys.readouterr().out.startswith(f'loss {names["value"]:.3f}, gradient ')
  # A step against the gradient lowers the loss.
  lower = jax.tree.map(lambda x, g: x - 0.1 * g, names['params'], names['gradient'])
  assert 0 < names['loss'](lower)[0] < names['value']


def test_an_example_is_short():
  assert EXAMPLES
  for example in EXAMPLES:
    code = [
      line for line in example.splitlines() if line and not line.startswith(('import', 'from'))
    ]
    assert len(code) <= 20, example
