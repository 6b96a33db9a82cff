"""Laws of what a solution of the cipher has decoded: two readers that never differ, and cases that
a person can follow."""

import jax
import numpy as np
import pytest

from o1jax.tasks import cipher, decoded
from o1jax.text.steps import Behaviours
from o1jax.types import Reference

SIZE, LONGEST = 448, 340  # bytes: the room for a text, and the longest that tests make


def references(plaintexts, width=48):
  rows = np.zeros((len(plaintexts), width), np.uint8)
  for row, text in zip(rows, plaintexts):
    row[: len(text)] = list(text.encode())
  length = np.array(list(map(len, plaintexts)))
  return Reference(text=rows, length=length, numbers=np.full((len(rows), 1), -1))


READ = jax.jit(jax.vmap(decoded.reachable))


def read(plaintexts, texts, *, size=SIZE, behind='', width=48):
  """The verdicts of the compiled reader."""
  rows = np.zeros((len(texts), size), np.uint8)
  for row, text in zip(rows, texts):
    whole = (text + behind)[:size]
    row[: len(whole)] = list(whole.encode('latin-1'))
  return np.asarray(READ(references(plaintexts, width), rows, np.array(list(map(len, texts)))))


def spelled(pairs):
  """The word that pairs stand for, or None."""
  codes = [ord(letter) for letter in pairs]
  if not (pairs.isascii() and pairs.isalpha() and pairs.islower()) or len(pairs) % 2:
    return None
  if any((a + b) % 2 for a, b in zip(codes[::2], codes[1::2])):
    return None
  return ''.join(chr((a + b) // 2) for a, b in zip(codes[::2], codes[1::2]))


def stands(plaintext, text):
  """The verdict in plain Python, by the methods of str."""
  words, collected, lost = plaintext.split(' '), [], False
  for line in text.split('\n')[:-1]:
    tag, bracket, body = line.partition('>')
    if tag in ('<analysis', '<decomposition') and bracket:
      continue
    last = words[len(collected) - 1] if 0 < len(collected) <= len(words) else None
    if tag not in ('<completion', '<alternative', '<evaluation', '<correction') or not bracket:
      lost = True
    elif body.startswith('back;'):
      lost = last is None or spelled(body.removeprefix('back;')) != last
      collected = collected if lost else collected[:-1]
    elif body.endswith(' ok'):
      lost |= last is None or not body.removesuffix(' ok') == collected[-1] == last
    elif not body.endswith(' no'):
      _, equals, word = body.partition('=')
      lost |= not equals
      collected += [word] * bool(equals)
  return not lost and collected == words[: len(collected)]


def demonstrated(count, seed=0):
  """(plaintext, text): demonstrations up to each of their lines, closed."""
  task = cipher.task(behaviours=Behaviours(dead_end=0.6, max_dead_ends=2, analysis=0.5))
  rng = np.random.default_rng(seed)
  found = []
  for problem in [*task.problems('train', count, seed), cipher.EXAMPLE]:
    steps = task.demonstrate(problem, rng)
    found += [
      (problem.text, ''.join(step + '\n' for step in steps[:n])) for n in range(len(steps) + 1)
    ]
  return [case for case in found if len(case[1]) <= LONGEST]


def agree(cases):
  """Both readers' one verdict on each case."""
  found = read(*zip(*cases))
  wrong = [(case, verdict) for case, verdict in zip(cases, found) if verdict != stands(*case)]
  assert not wrong, wrong[0]
  return found


def test_a_demonstration_can_become_right_but_while_a_word_is_misread():
  cases = demonstrated(250)
  mended = 0
  for (plaintext, text), verdict in zip(cases, agree(cases)):
    last = text.split('\n')[-2] if text else ''
    if '<answer>' in text or last.endswith(' no'):
      assert not verdict
    elif last.startswith(('<correction>', '<alternative>', '<analysis>')) or last.endswith(' ok'):
      assert verdict
      mended += last.startswith('<correction>')
    elif last.startswith('<completion>'):
      at = sum(line.startswith(('<completion>', '<alt')) for line in text.split('\n'))
      at -= text.count('<correction>')
      assert verdict == (last.partition('=')[2] == plaintext.split(' ')[at - 1])
    else:
      assert verdict
  assert mended > 60


def test_both_readers_agree_on_what_is_damaged():
  rng = np.random.default_rng(1)
  marks = list('abcxyz;=\n <>') + ['back;', '\n\n', ' ok', ' no', 'é', '=']
  cases = []
  for plaintext, text in demonstrated(200, seed=1):
    for _ in range(3 * bool(text)):
      at, other = int(rng.integers(len(text))), marks[int(rng.integers(len(marks)))]
      lines = text.splitlines(keepends=True)
      place = int(rng.integers(len(lines)))
      damaged = (
        text[:at] + other + text[at + 1 :],
        text[:at] + other + text[at:],
        text[:at] + text[at + 1 :],
        ''.join(lines[:place] + lines[place : place + 1] * 2 + lines[place + 1 :]),
        ''.join(lines[:place] + lines[place + 1 :]),
      )
      cases.append((plaintext, damaged[int(rng.integers(len(damaged)))]))
  verdicts = agree(cases)
  assert len(verdicts) > 1500 and 0.1 < verdicts.mean() < 0.9


FIRST = '<completion>oyt fjh dni isn drk=think\n'
MISREAD = FIRST + '<completion>rts qwt aid nrp=stdp\n'
BACK = '<correction>back;rtqwainr\n'
ALL = FIRST + '<completion>=step\n<completion>=by\n<completion>=step\n'


@pytest.mark.parametrize(
  'text, verdict',
  [
    ('', True),
    ('<analysis>one letter\n<decomposition>9 words\n', True),
    (FIRST, True),
    (FIRST + '<evaluation>think ok\n', True),
    (FIRST + '<evaluation>think no\n', True),  # wrong, and nothing is lost
    (FIRST + '<evaluation>thin ok\n', False),
    (FIRST + '<evaluation>step ok\n', False),
    ('<evaluation>think ok\n', False),
    ('<completion>oyt fjh dni isn drk=thinks\n', False),
    ('<completion>oyt fjh dni isn drk=thin\n', False),
    ('<completion>oyt fjh dni isn drk\n', False),
    ('<completion>oyt fjh dni isn drj=think\n', True),  # the word goes on, and it is right
    (MISREAD, False),
    (MISREAD + '<evaluation>stdp no\n', False),
    (MISREAD + '<evaluation>stdp ok\n', False),
    (MISREAD + BACK, True),
    (MISREAD + '<correction>back;rtqwain\n', False),
    (MISREAD + '<correction>back;rtqwaint\n', False),
    (MISREAD + '<correction>back;rtqwainrx\n', False),
    (MISREAD + '<correction>back;rtqwains\n', False),  # n and s have no letter halfway
    (MISREAD + '<correction>back;~hqwainr\n', False),  # nor has what is no letter
    (MISREAD + '<correction>back;ssttee\n', False),  # step lacks a letter
    (MISREAD + '<correction>back;oyfjdnisdr\n', False),  # not the last word
    (MISREAD + BACK + '<alternative>rts qwt aie nrp=step\n', True),
    (MISREAD + BACK + BACK, False),  # the word is gone
    (MISREAD + BACK + '<correction>back;oyfjdnisdr\n', True),
    (MISREAD + '<completion>acb xzy=by\n', False),
    (MISREAD + '<completion>acb xzy=by\n<correction>back;acxz\n', False),
    (MISREAD + '<completion>acb xzy=by\n<correction>back;acxz\n' + BACK, True),
    (FIRST + 'hm\n', False),
    (FIRST + 'hm\n<correction>back;oyfjdnisdr\n', True),
    (FIRST + '<evaluation>rts qwt aie nrp=step\n', True),
    (ALL, True),
    (ALL + '<evaluation>step ok\n', True),
    (ALL + '<completion>=step\n', False),  # there is no fifth word
    (ALL + '<completion>=step\n' + BACK, False),
    (ALL + '<answer>think step by step\n', False),  # a closed line is no end
    (ALL + '<answer>thin', True),  # an open line is not read
    (MISREAD[:-1], True),
  ],
)
def test_what_a_person_would_say(text, verdict):
  assert stands(cipher.EXAMPLE.text, text) == verdict
  assert read([cipher.EXAMPLE.text], [text]) == [verdict]


@pytest.mark.long
def test_the_verdict_does_not_depend_on_the_room_nor_on_what_lies_behind_the_text():
  plaintexts, texts = zip(*demonstrated(60))
  whole = read(plaintexts, texts)
  np.testing.assert_array_equal(whole, read(plaintexts, texts, size=LONGEST))
  np.testing.assert_array_equal(whole, read(plaintexts, texts, behind='<completion>=a\n' * 40))
  rows = np.zeros((len(texts), SIZE), np.uint8)
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text.encode())
  own = jax.jit(jax.vmap(cipher.task().reachable))
  found = own(references(plaintexts, width=60), rows, np.array(list(map(len, texts))))
  np.testing.assert_array_equal(whole, found)


def test_behind_the_last_word_there_is_nothing_to_return_to():
  plaintext = cipher.EXAMPLE.text
  text = ALL + '<completion>=step\n<correction>back;xy\n'
  for width in (len(plaintext), len(plaintext) + 1):
    assert not read([plaintext], [text], width=width).any()


def test_a_text_of_more_lines_than_there_is_room_for_is_given_up():
  many = '<analysis>\n' * (SIZE // 16)
  assert read(['a'] * 2, [many, many + '<analysis>\n']).tolist() == [True, False]
