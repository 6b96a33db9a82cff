"""Cipher: every two letters stand for the letter at their average place in the alphabet; spaces
keep the words.

The puzzle that OpenAI's o1 announcement shows: `oyfjdnisdr rtqwainr acxz mynzbhhx` reads `think
step by step`. A demonstration writes each pair beside its letter, a word at a time, so that each
letter is a look-up of the two before it, and then collects the word:

    decode oyfjdnisdr rtqwainr
    <analysis>two letters make one
    <decomposition>2 words
    <completion>oyt fjh dni isn drk=think
    <completion>rts qwt aid nrp=stdp           a pair misread as a neighbouring letter
    <evaluation>stdp no
    <correction>back;rtqwainr                  the word that was misread
    <alternative>rts qwt aie nrp=step          the first word after a correction
    <evaluation>step ok
    <answer>think step
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import types
from o1jax.tasks import asking, decoded, splits
from o1jax.tasks.words import WORDS
from o1jax.text import bytes as text_bytes
from o1jax.text.steps import ANSWER, DELIMITER, RIGHT, TAGS, WRONG, Behaviours

ALPHABET = 'abcdefghijklmnopqrstuvwxyz'
HELD_OUT_WORDS = ('strawberry',)  # in no generated sentence, of any split
_SPLITS = ('train', 'validation', 'test')


def task(
  *,
  min_words: int = 1,
  max_words: int = 4,
  max_letters: int = 10,
  invented: float = 0.3,
  behaviours: Behaviours = Behaviours(),
) -> types.Task:
  """Sentences of min_words..max_words words, each of at most `max_letters` letters.

  Problems carry the plaintext as `text`. Splits share no sentence, and `STRAWBERRY` is in none. An
  answer is correct when it equals the plaintext, apart from ASCII spaces around it. Use a tokenizer
  without merges (`vocab_size=None`): a merged token would hide the letters that make a pair.

  Args:
    invented: share of words that are random letters, so that reading pairs pays and guessing words
      does not.

  Raises:
    ValueError: for settings out of range.
  """
  if not 1 <= min_words <= max_words:
    raise ValueError(
      f'cipher with min_words={min_words}, max_words={max_words}: give 1 <= min_words <= max_words.'
    )
  if max_letters < 1:
    raise ValueError(f'cipher with max_letters={max_letters}: give at least 1.')
  if not 0 <= invented <= 1:
    raise ValueError(f'cipher with invented={invented}: it is a share, give a number in [0, 1].')
  draw = functools.partial(
    _draw_sentence,
    min_words=min_words,
    max_words=max_words,
    invented=invented,
    max_letters=max_letters,
    words=[word for word in WORDS if len(word) <= max_letters],
  )
  return types.Task(
    name='cipher',
    problems=functools.partial(_problems, draw=draw),
    demonstrate=functools.partial(_demonstrate, behaviours=behaviours),
    facts=functools.partial(_facts, draw=draw),
    verify=verify,
    reachable=decoded.reachable,
    check=check,
    fixed=(EXAMPLE, STRAWBERRY),
    ask=functools.partial(ask, max_words=max_words, max_letters=max_letters),
    plant=functools.partial(_plant, behaviours=dataclasses.replace(behaviours, dead_end=0.0)),
  )


def ask(
  question: str, *, max_words: int | None = None, max_letters: int | None = None
) -> types.Problem:
  """'decode oyfjdnisdr', or the ciphertext alone, in large or small letters. A note tells of what
  training never showed.

  Raises:
    ValueError: there is no ciphertext, or its letters do not pair up.
  """
  words = question.lower().split()
  if words[:1] in (['decode'], ['decode:']):
    words = words[1:]
  form = 'ask such as "decode oyfjdnisdr rtqwainr", two letters for each one'
  if not words:
    raise ValueError(f'{asking.quoted(question)} has no ciphertext: {form}')
  try:
    asked = problem(' '.join(words))
  except ValueError as error:
    raise ValueError(f'{asking.quoted(question)}: {error} {form.capitalize()}') from None
  notes = []
  if max_words and len(words) > max_words:
    notes.append(f'trained on up to {max_words} words')
  if max_letters and max(map(len, words)) > 2 * max_letters:
    notes.append(f'trained on words of up to {max_letters} letters')
  return dataclasses.replace(asked, note='; '.join(notes))


def encrypt(plaintext: str, rng: np.random.Generator) -> str:
  """A ciphertext of the words of `plaintext`, uniform over the pairs that stand for each letter."""
  return ' '.join(
    ''.join(_draw_pair(letter, rng) for letter in word) for word in plaintext.split(' ')
  )


def decrypt(ciphertext: str) -> str:
  """The plaintext of a ciphertext. Raises ValueError where letters do not pair up."""
  return ' '.join(''.join(map(_letter, _pairs(word))) for word in ciphertext.split(' '))


def problem(ciphertext: str) -> types.Problem:
  """The problem of reading `ciphertext`."""
  return types.Problem(prompt=f'decode {ciphertext}{DELIMITER}', text=decrypt(ciphertext))


def _pairs(word: str) -> list[str]:
  return [word[i : i + 2] for i in range(0, len(word), 2)]


def _letter(pair: str) -> str:
  places = [ALPHABET.find(letter) for letter in pair]
  if len(pair) != 2 or -1 in places or sum(places) % 2:
    raise ValueError(f'{pair!r} is no pair of letters with a letter halfway between them.')
  return ALPHABET[sum(places) // 2]


def _draw_pair(letter: str, rng: np.random.Generator) -> str:
  place = ALPHABET.index(letter)
  reach = min(place, len(ALPHABET) - 1 - place)
  distance = int(rng.integers(-reach, reach + 1))
  return ALPHABET[place - distance] + ALPHABET[place + distance]


EXAMPLE = problem('oyfjdnisdr rtqwainr acxz mynzbhhx')  # think step by step
# A fixed test, never trained on.
STRAWBERRY = problem('oyekaijzdf aaptcg suaokybhai ouow aqht mynznvaatzacdfoulxxz')


# --- problems ---


def _draw_sentence(rng, *, min_words, max_words, max_letters, invented, words) -> str:
  chosen = []
  count = int(rng.integers(min_words, max_words + 1))
  while len(chosen) < count:
    if rng.random() < invented:
      word = ''.join(
        ALPHABET[i] for i in rng.integers(len(ALPHABET), size=int(rng.integers(1, max_letters + 1)))
      )
    else:
      word = words[int(rng.integers(len(words)))]
    if word not in HELD_OUT_WORDS:
      chosen.append(word)
  return ' '.join(chosen)


def _split(plaintext: str) -> str:
  # Fixed texts are in no split at all.
  return (
    'fixed'
    if plaintext in (EXAMPLE.text, STRAWBERRY.text)
    else splits.split_of(f'cipher {plaintext}')
  )


def _problems(split, count, seed, *, draw) -> list[types.Problem]:
  if split not in _SPLITS:
    raise ValueError(f'cipher has no split {split!r}: give one of {_SPLITS}.')
  rng = np.random.default_rng((seed, _SPLITS.index(split)))
  # A dict keeps the order of discovery, so a shorter list is the beginning of a longer one.
  found = {}
  for _ in range(100 * count + 1000):
    if len(found) >= count:
      break
    plaintext = draw(rng)
    if plaintext not in found and _split(plaintext) == split:
      found[plaintext] = problem(encrypt(plaintext, rng))
  if len(found) < count:
    raise ValueError(
      f'cipher gave {len(found)} sentences in split {split!r}, {count} were asked: ask fewer, or '
      'raise max_words.'
    )
  return list(found.values())


# --- demonstrations and plain text ---


def _demonstrate(
  problem: types.Problem, rng: np.random.Generator, *, behaviours: Behaviours
) -> list[str]:
  words = problem.prompt.strip(DELIMITER).split(' ')[1:]
  analyse, plan, evaluate = rng.random(3) < (
    behaviours.analysis,
    behaviours.decomposition,
    behaviours.evaluation,
  )
  mistakes = min(behaviours.draw_dead_ends(rng), len(words))
  misread = set(rng.permutation(len(words))[:mistakes].tolist())

  steps = [TAGS['analysis'] + 'two letters make one'] if analyse else []
  if plan:
    steps.append(f'{TAGS["decomposition"]}{len(words)} word{"s" * (len(words) > 1)}')
  for i, word in enumerate(words):
    letters = decrypt(word)
    if i in misread:
      wrong = _misread(letters, rng)
      steps += [
        TAGS['completion'] + _reading(word, wrong),
        f'{TAGS["evaluation"]}{wrong} no',
        f'{TAGS["correction"]}back;{word}',
      ]
    steps.append(TAGS['alternative' if i in misread else 'completion'] + _reading(word, letters))
  if evaluate:
    steps.append(f'{TAGS["evaluation"]}{letters} ok')
  return [*steps, ANSWER + problem.text]


def _plant(problem: types.Problem, rng: np.random.Generator, wrong: bool, *, behaviours):
  """A demonstration without misread words, or with one wrong letter: of a word as it is read, or of
  the answer. The steps after a wrong reading repeat its word."""
  steps = _demonstrate(problem, rng, behaviours=behaviours)
  if not wrong:
    return steps, [RIGHT] * len(steps)
  ciphered, words = problem.prompt.strip(DELIMITER).split(' ')[1:], problem.text.split(' ')
  readings = [i for i, step in enumerate(steps) if step.startswith(TAGS['completion'])]
  n, at_end = int(rng.integers(len(words))), bool(rng.random() < 0.25)
  right, words[n] = words[n], _misread(words[n], rng)
  place = len(steps) - 1 if at_end else readings[n]
  if not at_end:
    steps[place] = TAGS['completion'] + _reading(ciphered[n], words[n])
    # Only the last word is evaluated.
    last = n == len(words) - 1
    verdict = TAGS['evaluation'] + right
    steps = [s.replace(right, words[n], 1) if last and s.startswith(verdict) else s for s in steps]
  steps[-1] = ANSWER + ' '.join(words)
  return steps, [RIGHT] * place + [WRONG] + [None] * (len(steps) - place - 1)


def _reading(word: str, letters: str) -> str:
  return ' '.join(pair + letter for pair, letter in zip(_pairs(word), letters)) + '=' + letters


def _misread(letters: str, rng: np.random.Generator) -> str:
  """One letter becomes a neighbour in the alphabet: the mistake that averaging makes."""
  i = int(rng.integers(len(letters)))
  place = ALPHABET.index(letters[i])
  neighbour = place + int(rng.choice([-1, 1]))
  if not 0 <= neighbour < len(ALPHABET):
    neighbour = 2 * place - neighbour
  return letters[:i] + ALPHABET[neighbour] + letters[i + 1 :]


def _facts(rng: np.random.Generator, *, draw) -> str:
  """Letter order ('m13 n14 o15'), facts of pairs ('oyt fjh'), or an untagged worked solution of a
  training problem."""
  kind = int(rng.integers(3))
  if kind == 0:
    first, size = int(rng.integers(len(ALPHABET) - 2)), int(rng.integers(3, 9))
    return ' '.join(
      f'{letter}{first + i + 1}' for i, letter in enumerate(ALPHABET[first : first + size])
    )
  if kind == 1:
    letters = [ALPHABET[i] for i in rng.integers(len(ALPHABET), size=int(rng.integers(2, 9)))]
    return ' '.join(_draw_pair(letter, rng) + letter for letter in letters)
  while _split(plaintext := draw(rng)) != 'train':
    pass
  words = encrypt(plaintext, rng)
  lines = [_reading(word, decrypt(word)) for word in words.split(' ')]
  # The wording differs from a problem's. So tuning on demonstrations does not change this text, nor
  # this text demonstrations.
  return DELIMITER.join([f'read {words}', *lines, plaintext])


# --- verdicts ---


def verify(reference: types.Reference, text: jax.Array, length: jax.Array) -> jax.Array:
  """Whether the text after the last answer tag is the reference text, apart from ASCII spaces
  around it.

  Args:
    reference: of one problem: text uint8 [Y], length [].
    text: uint8 [N], the solution.
    length: int32 [].

  Returns:
    bool [].
  """
  answer, size = text_bytes.after_last(text, length, ANSWER.encode(), size=text.shape[0])
  place = jnp.arange(text.shape[0])
  inked = (answer != ord(' ')) & (place < size)
  begin, end = jnp.argmax(inked), jnp.max(jnp.where(inked, place + 1, 0))
  width = reference.text.shape[0]
  answer = jax.lax.dynamic_slice(jnp.pad(answer, (0, width)), (begin,), (width,))
  equal = (answer == reference.text) | (jnp.arange(width) >= reference.length)
  return inked.any() & (end - begin == reference.length) & equal.all()


def check(problem: types.Problem, text: str) -> bool:
  """Whether the text after the last answer tag is the plaintext, apart from ASCII spaces around
  it."""
  _, tag, answer = text.rpartition(ANSWER)
  return bool(tag) and answer.strip(' ') == problem.text
