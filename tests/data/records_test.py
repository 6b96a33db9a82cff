"""Records come back in order; what is no record is told by file and line, or skipped and
counted."""

import gzip
import json
import tracemalloc

import pytest

from o1jax.data.records import ReaderError, read_folder, read_lines


def number(record):
  """Rows of a record {'n': n}: n of them."""
  if type(record) is not dict or type(record.get('n')) is not int:
    raise ReaderError('expected an object with a number n.')
  return [record['n']] * record['n']


def test_rows_come_in_order_and_blank_lines_are_no_records(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n\n   \n{"n": 0}\n{"n": 2}')
  assert list(read_lines(path, number)) == [1, 2, 2]
  assert list(read_lines(str(path), number)) == [1, 2, 2]


@pytest.mark.parametrize('name', ['a.jsonl.gz', 'a.jsonl'])
def test_a_compressed_file_is_known_by_its_content(tmp_path, name):
  path = tmp_path / name
  path.write_bytes(gzip.compress(b'{"n": 1}\n{"n": 2}\n'))
  assert list(read_lines(path, number)) == [1, 2, 2]


@pytest.mark.parametrize('indent', [None, 2])
def test_an_array_of_records_is_read_where_the_name_says_json(tmp_path, indent):
  path = tmp_path / 'a.json'
  path.write_text(json.dumps([{'n': 1}, {'n': 0}, {'n': 2}], indent=indent))
  assert list(read_lines(path, number)) == [1, 2, 2]
  path.write_text('{"n": 1}\n{"n": 2}\n')
  assert list(read_lines(path, number)) == [1, 2, 2]


LINES = [
  b'{"n": 1}',
  b'{"n": "1"}',
  b'{"n": 2}',
  b'{"n": ',
  b'{"n": 3}',
  b'\xff',
  b'{"n": NaN}',
  b'[' * 20_000,
]


def test_a_malformed_line_is_told_by_file_and_line(tmp_path):
  path = tmp_path / 'a.jsonl'
  words = {
    1: 'expected an object with a number n',
    3: 'not JSON',
    5: 'not UTF-8',
    6: 'NaN is no JSON number',
    7: 'nested too deeply',
  }
  for bad, expected in words.items():
    path.write_bytes(b'{"n": 1}\n\n' + LINES[bad] + b'\n{"n": 2}\n')
    rows = read_lines(path, number)
    assert next(rows) == 1
    with pytest.raises(ReaderError, match=f'a.jsonl:3: .*{expected}') as error:
      next(rows)
    assert error.value.line == 3 and '\n' not in str(error.value)


def test_a_number_of_too_many_digits_is_malformed(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"n": %s}' % ('9' * 10_000))
  with pytest.raises(ReaderError, match='a.jsonl:1: this cannot be read .*digits'):
    list(read_lines(path, number))


def test_bad_lines_are_skipped_and_counted(tmp_path, caplog):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'\n'.join(LINES))
  assert list(read_lines(path, number, skip_bad=True)) == [1, 2, 2, 3, 3, 3]
  assert 'skipped 5 of 8 records' in caplog.text
  assert (
    all(f'a.jsonl:{line}: ' in caplog.text for line in (2, 4, 6)) and 'a.jsonl:7' not in caplog.text
  )


def test_rows_that_are_no_longer_asked_for_end_the_count(tmp_path, caplog):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'\n'.join(LINES))
  rows = read_lines(path, number, skip_bad=True)
  assert [next(rows), next(rows)] == [1, 2]
  rows.close()
  assert 'skipped 1 of 3 records' in caplog.text


def test_nothing_is_told_of_good_files(tmp_path, caplog):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"n": 1}')
  assert list(read_lines(path, number, skip_bad=True)) == [1]
  assert not caplog.records


@pytest.mark.parametrize(
  'written, line, words',
  [
    ('[\n{"n": 1},\n{"n": "1"},\n{"n": 2}]', 3, 'expected an object with a number n'),
    ('[\n{"n": 1},\n{"n": 2', 3, 'not JSON'),
    ('[\n{"n": 1},\n\n{"n":\n NaN}]', 4, 'NaN'),
    ('[\n{"n": 1}]\n{"n": 2}', 2, 'text behind the end'),
    ('[\n{"n": 1},\n' + '[' * 20_000, 3, 'nested too deeply'),
  ],
)
def test_a_malformed_array_is_told_by_line(tmp_path, written, line, words):
  path = tmp_path / 'a.json'
  path.write_text(written)
  with pytest.raises(ReaderError, match=f'a.json:{line}: .*{words}') as error:
    list(read_lines(path, number))
  assert error.value.line == line


def test_an_array_that_breaks_off_is_no_bad_record_but_a_bad_file(tmp_path, caplog):
  path = tmp_path / 'a.json'
  path.write_text('[{"n": 1}, {"n": "1"}, {"n": 2}]')
  assert list(read_lines(path, number, skip_bad=True)) == [1, 2, 2]
  path.write_text('[{"n": 1}, {"n": "1"}, {"n": ')
  with pytest.raises(ReaderError, match='not JSON'):
    list(read_lines(path, number, skip_bad=True))
  path.write_bytes(b'[{"n": 1},\n{"n": "\xff"}]')
  with pytest.raises(ReaderError, match='a.json:2: this is not UTF-8'):
    list(read_lines(path, number, skip_bad=True))


@pytest.mark.parametrize('skip_bad', [False, True])
def test_what_is_no_data_is_explained(tmp_path, skip_bad):
  path = tmp_path / 'a.jsonl'
  with pytest.raises(ReaderError, match='a.jsonl is not there'):
    list(read_lines(path, number, skip_bad=skip_bad))
  path.write_text(
    'version https://git-lfs.github.com/spec/v1\noid sha256:35dc41080a36\nsize 446564\n'
  )
  with pytest.raises(ReaderError, match='a.jsonl is a Git-LFS pointer.*run git lfs pull'):
    list(read_lines(path, number, skip_bad=skip_bad))
  for nothing in (b'', b'\n \n', gzip.compress(b'')):
    path.write_bytes(nothing)
    with pytest.raises(ReaderError, match='a.jsonl is empty'):
      list(read_lines(path, number, skip_bad=skip_bad))
  whole = gzip.compress(b'{"n": 1}\n' * 1000)
  for damaged in (whole[:-20], whole[:30] + b'\0\1' + whole[32:], whole + b'more'):
    path.write_bytes(damaged)
    with pytest.raises(ReaderError, match='a.jsonl is damaged'):
      list(read_lines(path, number, skip_bad=skip_bad))
  with pytest.raises(ReaderError, match='is a folder: give a file .it holds a.jsonl'):
    list(read_lines(tmp_path, number, skip_bad=skip_bad))
  with pytest.raises(ReaderError, match='a.jsonl is no folder'):
    list(read_folder(path, '*.json', number, skip_bad=skip_bad))
  with pytest.raises(ReaderError, match='has no files .*json in it'):
    list(read_folder(tmp_path, '*.json', number, skip_bad=skip_bad))


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path, caplog):
  for name, written in {
    'b/10': '{"n": 2}',
    'b/9': '{"n": 1}',
    'a/7': '{"n": 3}',
    'b/11': '{\n"n"\n: ,}',
  }.items():
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / f'{name}.json').write_text(written)
  named = lambda record, file: [
    (file.relative_to(tmp_path).as_posix(), n) for n in set(number(record))
  ]
  expected = [('a/7.json', 3), ('b/9.json', 1), ('b/10.json', 2)]
  assert list(read_folder(tmp_path, '*.json', named, skip_bad=True)) == expected
  assert 'skipped 1 of 4 records' in caplog.text
  with pytest.raises(ReaderError, match='b/11.json:3: this is not JSON'):
    list(read_folder(tmp_path, '*.json', named))


def test_a_large_file_is_not_held_in_memory(tmp_path):
  path = tmp_path / 'a.jsonl'
  line = json.dumps({'n': 1, 'text': 'x' * 10_000}).encode() + b'\n'
  path.write_bytes(line * 800)
  tracemalloc.start()
  assert sum(read_lines(path, number)) == 800
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < path.stat().st_size / 16
