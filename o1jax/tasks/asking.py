"""Questions as people ask them: read for certain, or refused in a line."""

import re

# What may be asked, with blanks between all words. Numbers are plain digits: a sign, a point, a
# fraction or a separator of thousands would be read as another number.
_NUMBER = '(?:[1-9][0-9]*)'
_SEPARATOR = '(?: ?, ?and |, ?| , ?| and | )'
_LIST = f'(?P<given>{_NUMBER}(?:{_SEPARATOR}{_NUMBER})*)'
_TARGET = f'(?P<target>{_NUMBER})'
_FORMS = tuple(
  re.compile(form + ' ?[.?]?', re.ASCII | re.IGNORECASE)
  for form in (
    f'(?:(?:make|reach|get) )?{_TARGET} (?:from|with|using|out of) {_LIST}',
    f'make {_TARGET} ?: ?{_LIST}',
    f'(?:(?:from|with|use|using) )?{_LIST} ?(?:=|->|→) ?{_TARGET}',
    f'(?:from|with|use|using) {_LIST} ?,?(?: to)? (?:make|reach|get) {_TARGET}',
    f'(?:(?:how (?:do|can) (?:i|you|we) )?get )?from {_LIST} to {_TARGET}',
  )
)
_THOUSANDS = re.compile(r'[0-9],[0-9]{3}(?![0-9])')
_LONGEST = 200  # characters


def quoted(question: str) -> str:
  """A question as an error names it: on one line, and not long."""
  return repr(question if len(question) <= 60 else question[:59] + '…')


def read_open(question: str) -> str:
  """A question in free words, without the blanks around it. ValueError where there are no words."""
  if not question.strip():
    raise ValueError('the question is empty: ask one')
  return question.strip()


def read_countdown(question: str, *, numbers: int, limit: int) -> tuple[int, list[int]]:
  """The target and the numbers that a question gives, such as 'make 26 from 3 5 7', '3 5 7 = 26' or
  'use 3, 5 and 7 to reach 26'.

  Whatever is not such a question to its last letter is refused, since what is left out of one is
  another question.

  Args:
    question: in one of these forms, in large or small letters.
    numbers: how many it must give.
    limit: largest number.

  Raises:
    ValueError: it is none, or has another count of numbers, or one that is not in 1..limit.
  """
  example = f'"make {sum(range(3, 3 + numbers))} from {" ".join(map(str, range(3, 3 + numbers)))}"'
  text = ' '.join(question.split()) if len(question) <= _LONGEST else ''
  found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
  said = quoted(question)
  if found and (joined := _THOUSANDS.search(text)):
    raise ValueError(
      f'{said} may mean one number or two by {joined.group()!r}: put a blank behind each comma of '
      'a list, and no comma into a number'
    )
  if found is None:
    raise ValueError(
      f'{said} cannot be read for certain as a countdown: ask such as {example}, with whole '
      f'numbers from 1 to {limit:,} in digits, without signs, points or separators of thousands'
    )
  target = int(found['target'])
  given = [int(digits) for digits in re.findall(_NUMBER, found['given'])]
  if len(given) != numbers:
    raise ValueError(
      f'{said} has {len(given)} numbers to use, and this run knows countdown with {numbers}: ask '
      f'such as {example}'
    )
  large = max(target, *given)
  if large > limit:
    raise ValueError(f'{said} has the number {large}: ask such as {example}, up to {limit:,}')
  return target, given
