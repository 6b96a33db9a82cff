"""A process that judges solutions for `reward.host`, one at a time: `python -m o1jax.reward.worker`.

It is told by pickles on its standard input, first (seconds, check) and then (problem, text) after (problem, text), and
answers each with a line of JSON on its standard output: READY, then the verdict or, in words, what the check raised.
The system ends it when a check takes longer than its seconds, whatever the check is busy with, and it ends by itself
when there is nobody left to ask it.
"""

import json
import os
import pickle
import signal
import sys

READY = 'ready'


def main() -> None:
  """Judges until the standard input ends."""
  for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole job, whose first process decides
    signal.signal(number, signal.SIG_IGN)
  signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which is to end the process
  answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a check prints is no answer
  seconds, check = pickle.load(sys.stdin.buffer)
  _say(answers, READY)
  while True:
    try:
      problem, text = pickle.load(sys.stdin.buffer)
    except EOFError:
      return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
      verdict = bool(check(problem, text))
    except Exception as error:
      verdict = f'{type(error).__name__}: {error}'
    signal.setitimer(signal.ITIMER_REAL, 0)
    _say(answers, verdict)


def _say(answers, words):
  answers.write(json.dumps(words) + '\n')
  answers.flush()


if __name__ == '__main__':
  main()
