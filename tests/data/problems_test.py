"""GSM8K and MATH: what was written comes back; what is not in the format is told by file and
line."""

import pathlib
import random
import shutil

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.text.gsm8k import gsm8k as gsm8k_of_tfds

from o1jax.data.problems import SolvedProblem, boxed_answer, read_gsm8k, read_gsm8k_tfds, read_math
from o1jax.data.records import ReaderError
from tests.data import formats

JANET = {
  'question': 'Janet\u2019s ducks lay 16 eggs per day. How much does she make? ',
  'answer': 'Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\n\n'
  'She makes 9 * 2 = $<<9*2=18>>18 every day. \n#### 1,080',
}


def write(path, *records):
  path.write_text(formats.lines(records), encoding='utf-8')
  return path


def random_problems(seed, count=60):
  rng = random.Random(seed)
  choose = lambda: dict(
    subject=rng.choice(['Counting & Probability', 'Algebra']), level=rng.choice([1, 5, None])
  )
  return [formats.solved(rng, **choose(), name=f'test/algebra/{i}.json') for i in range(count)]


def test_gsm8k_comes_back(tmp_path):
  rows = [row._replace(subject='', level=None, name='') for row in random_problems(0)]
  path = write(tmp_path / 'train.jsonl', *map(formats.gsm8k, rows))
  assert list(read_gsm8k(path)) == list(read_gsm8k(path, keep_annotations=True)) == rows


def test_gsm8k_has_steps_without_annotations_and_the_answer_as_written(tmp_path):
  path = write(tmp_path / 'train.jsonl', JANET)
  assert list(read_gsm8k(path)) == [
    SolvedProblem(
      problem='Janet\u2019s ducks lay 16 eggs per day. How much does she make?',
      steps=('Janet sells 16 - 3 - 4 = 9 duck eggs a day.', 'She makes 9 * 2 = $18 every day.'),
      answer='1,080',
    )
  ]
  marked = write(
    tmp_path / 'test.jsonl', {'question': 'q', 'answer': 'We write #### 1 first.\n#### -3'}
  )
  assert list(read_gsm8k(marked)) == [SolvedProblem('q', ('We write #### 1 first.',), '-3')]
  kept = next(read_gsm8k(path, keep_annotations=True))
  assert kept.steps[0] == 'Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.'


@pytest.mark.parametrize(
  'changes, words',
  [
    (
      {'answer': 'So she has 9.'},
      "'answer' ends with 'So she has 9.': expected a last line `#### answer`",
    ),
    ({'answer': 'So she has 9.\n#### '}, 'expected a last line'),
    ({'answer': '#### 9\nSo she has 9.'}, 'expected a last line'),
    ({'answer': 9}, "'answer' is 9: expected text"),
    ({'question': ' '}, "'question' is blank"),
    ({'question': None}, "'question' is None"),
  ],
)
def test_gsm8k_malformed(tmp_path, changes, words):
  path = write(tmp_path / 'train.jsonl', JANET, JANET | changes, JANET)
  with pytest.raises(ReaderError, match=f'train.jsonl:2: .*{words}'):
    list(read_gsm8k(path))
  assert len(list(read_gsm8k(path, skip_bad=True))) == 2


def test_math_comes_back(tmp_path):
  rows = random_problems(1)
  # A record of MATH has its answer in the solution's last line.
  boxed = [
    row._replace(steps=(*row.steps[:-1], f'{row.steps[-1]} \\boxed{{{row.answer}}}$.'), name='')
    for row in rows
  ]
  assert list(read_math(write(tmp_path / 'a.jsonl', *map(formats.math, rows)))) == boxed
  assert list(read_math(write(tmp_path / 'b.jsonl', *map(formats.math500, rows)))) == rows
  for i, row in enumerate(rows):
    file = tmp_path / 'train' / row.subject.lower() / f'{i}.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, formats.math(row))
  found = list(read_math(tmp_path / 'train'))
  assert {row.name: row._replace(name='') for row in found} == {
    f'train/{row.subject.lower()}/{i}.json': row for i, row in enumerate(boxed)
  }
  numbers = [int(pathlib.Path(row.name).stem) for row in found if row.subject == 'Algebra']
  assert numbers == sorted(numbers)


@pytest.mark.parametrize(
  'solution, answer',
  [
    (r'so $\boxed{40,\!000}$.', r'40,\!000'),
    (r'\boxed{1} or \boxed{\frac{\sqrt{3}}{2}} is it', r'\frac{\sqrt{3}}{2}'),
    (r'\boxed{\left\{ x : x > 0 \right.}', r'\left\{ x : x > 0 \right.'),
    (r'\boxed{\text{(A)}} % \boxedly', r'\text{(A)}'),
    (r'\boxed{a \\}{', r'a \\'),
    (r'it is \fbox{7}.', '7'),
    (r'$\boxed 12$ apples', '12'),
    ('$\\boxed\n { 5 }$', '5'),
    (r'\boxed{1 + \boxed{2}}', '2'),
  ],
)
def test_the_answer_is_what_the_last_box_holds(solution, answer):
  assert boxed_answer(solution) == answer


@pytest.mark.parametrize(
  'solution, words',
  [
    ('so it is 5.', "ends with 'so it is 5.': expected its answer in a"),
    (r'\boxedly{5}', 'expected its answer in a'),
    (r'\boxed{1}, no: \boxed{\frac{1}{2}', r'is not closed: .*frac'),
    (r'\boxed{\}', 'is not closed'),
    (r'\boxed{ }', 'is empty'),
    (r'\boxed$', 'is not closed'),
  ],
)
def test_a_box_without_an_answer(solution, words):
  with pytest.raises(ReaderError, match=words):
    boxed_answer(solution)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'solution': 'It is 5.'}, 'expected its answer in a'),
    ({'solution': '\\boxed{5'}, 'is not closed'),
    ({'level': 'Level 6'}, "'level' is 'Level 6': expected 'Level 1'"),
    ({'level': 0}, "'level' is 0"),
    ({'level': True}, "'level' is True: expected text or a whole number or null"),
    ({'type': 3}, "'type' is 3"),
    ({'answer': None}, "'answer' is None"),
  ],
)
def test_math_malformed(tmp_path, changes, words):
  good = formats.math(random_problems(2, 1)[0])
  path = write(tmp_path / 'math.jsonl', good, good, good | changes)
  with pytest.raises(ReaderError, match=f'math.jsonl:3: .*{words}'):
    list(read_math(path))
  (tmp_path / 'train').mkdir()
  write(tmp_path / 'train' / '3.json', good | changes)
  with pytest.raises(ReaderError, match=f'train/3.json:1: .*{words}'):
    list(read_math(tmp_path / 'train'))


def test_the_splits_of_math_are_not_mixed(tmp_path):
  for split in ('train', 'test'):
    (tmp_path / 'MATH' / split).mkdir(parents=True)
    write(tmp_path / 'MATH' / split / '1.json', formats.math(random_problems(3, 1)[0]))
  with pytest.raises(ReaderError, match='holds both splits of MATH: give .*train or .*test'):
    list(read_math(tmp_path / 'MATH'))
  assert [row.name for row in read_math(tmp_path / 'MATH' / 'test')] == ['test/1.json']


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """GSM8K as the builder of TFDS itself prepares it, from files that were not downloaded; and what
  they hold."""
  folder = tmp_path_factory.mktemp('tfds')
  rows = [row._replace(subject='', level=None, name='') for row in random_problems(4, 20)]
  file = write(folder / 'gsm8k.jsonl', *map(formats.gsm8k, rows), JANET)
  builder = gsm8k_of_tfds.Gsm8k(data_dir=folder, file_format='array_record')
  tfds.disable_progress_bar()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      tfds.download.DownloadManager,
      'download_and_extract',
      lambda self, urls: dict.fromkeys(urls, file),
    )
    builder.download_and_prepare()
  return folder, file


def test_gsm8k_of_tfds_is_that_of_the_file(prepared):
  folder, file = prepared
  for place in (folder, folder / 'gsm8k' / '1.0.0', str(folder / 'gsm8k')):
    assert sorted(read_gsm8k_tfds(place, 'test')) == sorted(read_gsm8k(file))
  kept = read_gsm8k_tfds(folder, 'train_socratic', keep_annotations=True)
  assert sorted(kept) == sorted(read_gsm8k(file, keep_annotations=True)) != sorted(read_gsm8k(file))


def test_what_tfds_has_not_prepared_is_explained(prepared, tmp_path):
  folder, _ = prepared
  with pytest.raises(
    ReaderError, match=r'holds no gsm8k of TFDS: expected gsm8k/1.0.0/dataset_info.json in it'
  ):
    next(read_gsm8k_tfds(tmp_path, 'train'))
  with pytest.raises(
    ReaderError, match=r"has no split 'validation': it has \['test', 'test_socratic', "
  ):
    next(read_gsm8k_tfds(folder, 'validation'))
  other = tmp_path / '1.0.0'
  shutil.copytree(folder / 'gsm8k' / '1.0.0', other)
  info = (other / 'dataset_info.json').read_text()
  (other / 'dataset_info.json').write_text(info.replace('array_record', 'tfrecord'))
  with pytest.raises(
    ReaderError, match='holds tfrecord files, which need TensorFlow: prepare it with file_format='
  ):
    next(read_gsm8k_tfds(other, 'train'))
