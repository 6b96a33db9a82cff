"""What the configs of studies share: how a claim and its searches are written down."""

from ml_collections import ConfigDict

ARGUMENTS = ('', 'smoke')


def study(
  argument: str,
  *,
  claim: str,
  source: str,
  criterion: str,
  judge: dict,
  searches: dict,
  starts: dict | None = None,
  rows: int = 128,
) -> ConfigDict:
  """A study. `starts`: FOLDER:STAGE of trained runs, with {seed} where there are several; what is
  left '' is not measured."""
  if argument not in ARGUMENTS:
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = ConfigDict(dict(claim=claim, source=source, criterion=criterion, judge=judge))
  c.starts = ConfigDict(starts or dict(countdown='runs/quickstart:reward'))
  c.evaluate = ConfigDict(
    # What answers questions is not asked in a study.
    dict(searches=searches, splits=('validation', 'test'), rows=32 if argument == 'smoke' else rows)
  )
  c.evaluate.answer = dict(search=min(searches), tokens=0, units=1)
  return c
