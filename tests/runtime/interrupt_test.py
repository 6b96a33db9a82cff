"""Ctrl-C: the update in flight ends, Ctrl-C once more does not wait, and the handlers come back."""

import os
import signal
import threading

import pytest

from o1jax.runtime.interrupt import Interrupt


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_update_in_flight_is_finished_and_the_loop_left(number, capfd):
  finished = 0
  with Interrupt() as interrupt:
    while finished < 5 and not interrupt.requested:
      if finished == 2:
        os.kill(os.getpid(), number)
      finished += 1
  assert interrupt.requested and finished == 3
  assert 'Stopping when the updates under way are done' in capfd.readouterr().err


def test_a_terminating_signal_may_be_repeated():
  with Interrupt() as interrupt:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
      os.kill(os.getpid(), number)
  assert interrupt.requested


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_raises_at_once(number):
  reached = []
  with pytest.raises(KeyboardInterrupt):
    with Interrupt() as interrupt:
      os.kill(os.getpid(), number)
      reached.append(interrupt.requested)
      os.kill(os.getpid(), signal.SIGINT)
      reached.append('too far')
  assert reached == [True]


def test_handlers_are_put_back_also_after_an_error():
  before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
  with pytest.raises(RuntimeError):
    with Interrupt():
      assert signal.getsignal(signal.SIGINT) is not before[0]
      raise RuntimeError
  assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_off_the_main_thread_nothing_changes():
  before = signal.getsignal(signal.SIGINT)
  seen = []

  def work():
    with Interrupt() as interrupt:
      seen.append((signal.getsignal(signal.SIGINT), interrupt.requested))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(before, False)]
