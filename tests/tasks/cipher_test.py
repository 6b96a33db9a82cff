"""Laws of the cipher: it is its definition, demonstrations are true, verdicts agree."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import types
from o1jax.tasks import cipher
from o1jax.tasks.words import WORDS
from o1jax.text.steps import ANSWER, Behaviours, count_behaviours, join_steps


def test_the_published_sentences():
  assert cipher.decrypt('oyfjdnisdr rtqwainr acxz mynzbhhx') == 'think step by step'
  assert (
    cipher.STRAWBERRY.prompt
    == 'decode oyekaijzdf aaptcg suaokybhai ouow aqht mynznvaatzacdfoulxxz\n'
  )
  assert cipher.STRAWBERRY.text == 'there are three rs in strawberry'


def test_decrypting_inverts_encrypting_and_every_pair_is_used():
  rng = np.random.default_rng(0)
  pairs = set()
  for _ in range(300):
    text = cipher.encrypt(cipher.ALPHABET, rng)
    assert cipher.decrypt(text) == cipher.ALPHABET
    pairs |= {text[i : i + 2] for i in range(0, len(text), 2)}
  assert len(pairs) == 2 * 13**2  # both letters on odd places or both on even ones


@pytest.mark.parametrize('wrong', ['abc', 'ab', 'a', 'a1'])
def test_letters_that_do_not_pair_are_refused(wrong):
  with pytest.raises(ValueError, match='no pair of letters'):
    cipher.decrypt(wrong)


def test_difficulty_is_kept_and_the_fixed_sentence_is_kept_out():
  task = cipher.task(min_words=2, max_words=3, max_letters=5)
  for problem in task.problems('train', 300, 0):
    words = problem.text.split(' ')
    assert 2 <= len(words) <= 3 and all(1 <= len(word) <= 5 for word in words)
    assert cipher.decrypt(problem.prompt.removeprefix('decode ').strip()) == problem.text
  assert 'strawberry' not in WORDS and len(WORDS) == len(set(WORDS)) and max(map(len, WORDS)) == 10


def test_splits_share_no_sentence_and_fewer_are_the_first_of_more():
  task = cipher.task(max_words=1, invented=0)
  found = {split: task.problems(split, 60, 3) for split in ('train', 'validation', 'test')}
  texts = [problem.text for problems in found.values() for problem in problems]
  assert len(set(texts)) == 180
  assert task.problems('test', 20, 3) == found['test'][:20] != task.problems('test', 20, 4)
  with pytest.raises(ValueError, match=r"gave \d+ sentences in split 'test', 500 were asked"):
    task.problems('test', 500, 0)


def follow(problem, steps):
  """Checks each step of a demonstration; returns the number of mistakes made and mended."""
  words = problem.prompt.split()[1:]
  read, corrected, mistakes = [], False, 0
  for step in steps[:-1]:
    tag, content = re.fullmatch(r'<(\w+)>(.*)', step).groups()
    if tag == 'decomposition':
      assert int(content.split()[0]) == len(words)
    elif tag in ('completion', 'alternative'):
      assert corrected == (tag == 'alternative')
      reading, word = content.split('=')
      triples = reading.split(' ')
      assert ''.join(triple[:2] for triple in triples) == words[len(read)]
      assert ''.join(triple[2] for triple in triples) == word
      read.append(word)
      corrected = False
    elif tag == 'evaluation':
      right = read[-1] == cipher.decrypt(words[len(read) - 1])
      assert content == f'{read[-1]} {"ok" if right else "no"}'
      mistakes += not right
    elif tag == 'correction':
      assert (
        read.pop() != cipher.decrypt(words[len(read)]) and content == f'back;{words[len(read)]}'
      )
      corrected = True
  assert ' '.join(read) == problem.text and steps[-1] == ANSWER + problem.text
  return mistakes


@pytest.mark.parametrize('max_dead_ends', [1, 3])
def test_demonstrations_are_true(max_dead_ends):
  task = cipher.task(behaviours=Behaviours(dead_end=0.6, max_dead_ends=max_dead_ends))
  problems = [*task.problems('train', 200, 0), cipher.STRAWBERRY, cipher.EXAMPLE]
  shown = [
    [task.demonstrate(p, np.random.default_rng(i)) for i, p in enumerate(problems)]
    for _ in range(2)
  ]
  assert shown[0] == shown[1]
  assert set(map(follow, problems, shown[0])) == set(range(max_dead_ends + 1))


def test_behaviours_occur_at_their_shares():
  task = cipher.task(
    max_words=2, behaviours=Behaviours(analysis=0.2, decomposition=0.8, evaluation=0, dead_end=0.4)
  )
  rng = np.random.default_rng(0)
  counts = count_behaviours(
    join_steps(task.demonstrate(p, rng)) for p in task.problems('train', 1500, 0)
  )
  for behaviour, share in [
    ('analysis', 0.2),
    ('decomposition', 0.8),
    ('correction', 0.4),
    ('alternative', 0.4),
    ('completion', 1.0),
    ('evaluation', 0.4),
  ]:
    assert counts[behaviour].share == pytest.approx(share, abs=0.05)


def test_facts_are_true_and_of_all_kinds():
  task = cipher.task()
  rng = np.random.default_rng(0)
  kinds = set()
  for _ in range(300):
    text = task.facts(rng)
    order, triples = (
      re.findall(r'\b([a-z])(\d+)\b', text),
      re.findall(r'\b([a-z]{2})([a-z])\b', text),
    )
    kinds.add('solution' if text.startswith('read') else 'order' if order else 'pairs')
    assert all(cipher.ALPHABET[int(place) - 1] == letter for letter, place in order)
    if not text.startswith('read'):
      assert all(cipher.decrypt(pair) == letter for pair, letter in triples)
    else:
      lines = text.split('\n')
      assert cipher.decrypt(lines[0].removeprefix('read ')) == lines[-1]
      assert lines[-1] not in (cipher.STRAWBERRY.text, cipher.EXAMPLE.text)
  assert kinds == {'solution', 'order', 'pairs'}


def near_misses(count):
  rng = np.random.default_rng(0)
  junk = [*' ab', '\n', '  ', ANSWER, '\0', 'é', '\t', 'think']
  for _ in range(count):
    target = ['think', 'a', 'step by step', 'aa a'][rng.integers(4)]
    text = [f'{ANSWER}{target}', f'{ANSWER}  {target} ', target, f'x\n{ANSWER}{target[:-1]}', ''][
      rng.integers(5)
    ]
    for _ in range(rng.integers(3)):
      place = int(rng.integers(len(text) + 1))
      text = text[:place] + junk[rng.integers(len(junk))] + text[place + int(rng.integers(2)) :]
    yield types.Problem(prompt='', text=target), text


def test_verdicts_agree_on_ten_thousand_strings():
  cases = list(near_misses(10_000))
  text, target = np.zeros((len(cases), 64), np.uint8), np.zeros((len(cases), 12), np.uint8)
  length = np.array([len(solution.encode()) for _, solution in cases], np.int32)
  target_length = np.array([len(problem.text) for problem, _ in cases], np.int32)
  for i, (problem, solution) in enumerate(cases):
    text[i, : length[i]], target[i, : target_length[i]] = (
      list(solution.encode()),
      list(problem.text.encode()),
    )
  reference = types.Reference(
    text=jnp.asarray(target),
    length=jnp.asarray(target_length),
    numbers=jnp.full((len(cases), 1), -1),
  )
  fast = np.asarray(
    jax.jit(jax.vmap(cipher.verify))(reference, jnp.asarray(text), jnp.asarray(length))
  )
  slow = np.array([cipher.check(*case) for case in cases])
  assert [case for case, one, other in zip(cases, fast, slow) if one != other] == []
  assert 0.1 < slow.mean() < 0.9


@pytest.mark.parametrize(
  'setting',
  [{'min_words': 0}, {'min_words': 5, 'max_words': 4}, {'max_letters': 0}, {'invented': 1.5}],
)
def test_settings_out_of_range_name_themselves(setting):
  name, value = next(iter(setting.items()))
  with pytest.raises(ValueError, match=f'{name}={value}'):
    cipher.task(**setting)
