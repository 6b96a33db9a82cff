"""The final answer of a solution that was written for people to read.

Every search here takes one pass over the text, whatever the text holds: a model may write anything.
"""

import re

from o1jax.text.steps import ANSWER, DELIMITER

_BRACES = re.compile(r'\\(?:boxed|fbox)\s*\{|\\boxed\s+(?P<bare>[^\s{}$\\]+)|\\.|[{}]', re.DOTALL)
_SAID = re.compile(r'\banswer(?: is\b|\s*:|\s*=)[\s:*]*(?P<rest>[^\n]*)', re.IGNORECASE)
_SENTENCE = re.compile(r'[.!?](?:\s|$)')
_NUMBER = re.compile(
  r'(?:(?<![\w.)\]}])-)?(?:\\?\$)?(?:\\[dt]?frac\{\d+\}\{\d+\}|\d[\d,]*(?:\.\d+)?(?:/\d+)?)(?:\\?%)?',
  re.ASCII,
)


def boxed(text: str) -> str | None:
  r"""What the last balanced `\boxed{...}` of a text holds, or None without one. Of nested boxes the
  one that begins last counts.

  `\fbox{...}` and `\boxed 5` count too: some solutions of MATH (arXiv:2103.03874) use them. Escaped
  braces are text.
  """
  begun, best = [], (-1, None)
  for token in _BRACES.finditer(text):
    word = token.group()
    if token['bare']:
      best = max(best, (token.start(), token['bare']), key=lambda found: found[0])
    elif word.endswith('{') and word != r'\{':
      begun.append((token.start(), token.end(), len(word) > 1))
    elif word == '}' and begun:
      start, inside, is_box = begun.pop()
      if is_box and start > best[0]:
        best = start, text[inside : token.start()]
  return best[1]


def told(text: str, marker: str) -> str:
  """The answer of a solution, for people: the text after its last `marker`, or all of it where
  answers have no marker.

  A marker with an open brace is a box, and the answer is what the box holds. '' where there is
  none.
  """
  if marker.endswith('{'):
    return (boxed(text) or '').strip()
  if marker and marker not in text:
    return ''
  return (text.rpartition(marker)[2] if marker else text).strip()


def final_answer(text: str) -> str | None:
  r"""The answer that a solution ends with; None where it has none.

  It is the first of these that the text has, without the blanks around it. If that is empty, there
  is no answer:

  1. what the last balanced `\boxed{...}` holds (MATH);
  2. the rest of the line after the last `####` (GSM8K, arXiv:2110.14168);
  3. the rest of the line after the last answer tag of `text.steps`;
  4. the rest of the sentence after the last "answer is", "answer:" or "answer =";
  5. the last number.
  """
  answer = boxed(text)
  for marker in ('####', ANSWER):
    if answer is None and marker in text:
      answer = text.rpartition(marker)[2].partition(DELIMITER)[0]
  if answer is None:
    for said in _SAID.finditer(text):
      answer = _SENTENCE.split(said['rest'], maxsplit=1)[0].strip('* ')
  if answer is None:
    for number in _NUMBER.finditer(text):
      answer = number.group().rstrip(',')
  return (answer or '').strip() or None
