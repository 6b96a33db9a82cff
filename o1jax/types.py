"""The nouns: whatever crosses a folder border is one of these.

Axes: B problems, X expansions (slots), A candidate steps per expansion, W nodes expanded at once, L
tokens in one step, R most steps on a path, P prompt tokens, T tokens in a row, V vocabulary.
`*_mask`: True = keep.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

Array = jax.Array
UNUSED = -1  # in the numbers of a `Reference`


@dataclasses.dataclass(frozen=True)
class Problem:
  """One problem as the host sees it. Only `prompt` is ever shown to a policy.

  Attributes:
    prompt: the question as text, closed by the step delimiter.
    text: the exact answer where the task has one ('' otherwise).
    numbers: the integers a verifier needs, e.g. countdown's (target, n1, n2, n3).
    note: what a person who asked it should know, such as that training never showed the like.
    task: which part of a mixture it is of, see `Task.parts`.
    cluster: what it shares with problems like it, such as its template. Two problems of one
      cluster are not independent measurements; '' = nothing is known.
  """

  prompt: str
  text: str = ''
  numbers: tuple[int, ...] = ()
  note: str = ''
  task: int = 0
  cluster: str = dataclasses.field(default='', compare=False)


class TextWorld(NamedTuple):
  """What a task says after a step, in text, so that it works with any tokenizer.

  Attributes:
    answer: (text uint8 [reads], length []) of one step -> (text uint8 [says], length []), 0 where
      it says nothing. jnp, and ASCII.
    reads: bytes of the end of a step that it is told.
    says: bytes of its longest answer.
    failed: (text uint8 [says], length []) of an answer -> bool []: it tells of an error. jnp. None
      where no answer does.
  """

  answer: Callable[[Array, Array], tuple[Array, Array]]
  reads: int
  says: int
  failed: Callable[[Array, Array], Array] | None = None


class Probe(NamedTuple):
  """A line in which a policy judges what it has written, such as `<evaluation>16 for 26 no`.

  Attributes:
    parts: of the line, in order: a text, or a function (prompt uint8 [P], length [], solution uint8
      [reads], length []) -> a number [], below 0 where there is nothing to ask. jnp.
    digits: of the largest number.
    yes, no: how the line may go on.
    instead: how steps begin in whose place the line stands, where they end a solution: its answer,
      and what it says of itself, which a policy would only repeat.
  """

  parts: tuple[str | Callable[[Array, Array, Array, Array], Array], ...]
  digits: int
  yes: str
  no: str
  instead: tuple[str, ...] = ()


class Task(NamedTuple):
  """A task generates problems, demonstrates, states facts, and verifies, twice if it can; it may
  have problems worth a look.

  Attributes:
    name: short lower-case name.
    problems: (split, count, seed) -> Problems without repetition; splits share none. Raises
      ValueError when the split holds fewer than `count`.
    demonstrate: (problem, rng) -> tagged steps without delimiters; the last one is the answer step.
      Of an answer of several lines, the others follow as steps without a tag.
    facts: (rng) -> a short plain text, possibly of several lines, for pre-training.
    verify: (Reference of one problem, text uint8 [N], length []) -> bool []. jnp, reads bytes, any
      tokenizer. None where only `check` can tell.
    check: (problem, solution text) -> bool. Plain Python, written independently of `verify`, and a
      function that other processes can import; reads `text` and `numbers` of the problem alone.
      None where only a sandbox can tell.
    fixed: problems worth a look of their own, in no split: a report shows what each policy's search
      answers.
    ask: a question as a person puts it -> Problem, of which a verifier may know nothing. Raises
      ValueError for one that it cannot take, with the form it wants.
    marker: what stands before the answer in a solution; solutions vote for what follows the last
      one. '' where each is an answer of its own.
    reads: bytes of the end of a solution that a verifier and a vote are told.
    world: what is said after a step, if anything; `demonstrate` gives it as `text.steps.Given`.
    judges: rows of `verify.JUDGES` that may judge its answers.
    reachable: (Reference of one problem, text uint8 [N], length []) -> bool []: whether an
      unfinished solution can still become right. jnp, any tokenizer. It is given the text from its
      beginning and judges whole lines: one that is still open says nothing. It knows the answer, so
      it is for diagnosis, never for a search at test time. None where a task cannot tell.
    heuristic: (prompt uint8 [P], length [], solution uint8 [reads], length []) -> [] in [0, 1]: a
      rule of thumb of how good a solution is, finished or not, from what is asked and the end of
      what is written alone. jnp. None where a task has none.
    probe: how a policy is asked to judge a finished solution. None where it has not learned to.
    parts: the tasks that it mixes, if it does; `Problem.task` is a place among them.
    plant: (problem, rng, wrong) -> steps as of `demonstrate`, and a label for each: RIGHT, WRONG
      or None of `text.steps`. A step is right where what it says is true. With `wrong` there is
      one step that is not; those after it follow from it and have no label. Without, all are
      right. None where the task plants no errors.
  """

  name: str
  problems: Callable[[str, int, int], list[Problem]]
  demonstrate: Callable[[Problem, np.random.Generator], list[str]]
  facts: Callable[[np.random.Generator], str]
  verify: Callable[['Reference', Array, Array], Array] | None
  check: Callable[[Problem, str], bool] | None
  fixed: tuple[Problem, ...] = ()
  ask: Callable[[str], Problem] | None = None
  marker: str = '<answer>'
  reads: int = 128
  world: TextWorld | None = None
  judges: tuple[str, ...] = ('task',)
  reachable: Callable[['Reference', Array, Array], Array] | None = None
  heuristic: Callable[[Array, Array, Array, Array], Array] | None = None
  probe: Probe | None = None
  parts: tuple['Task', ...] = ()
  plant: Callable[[Problem, np.random.Generator, bool], tuple[list[str], list]] | None = None

  def each(self) -> tuple['Task', ...]:
    """Its parts, or itself alone where it has none."""
    return self.parts or (self,)


@struct.dataclass
class Prompt:
  """What a policy is asked. Never holds the answer."""

  tokens: Array  # [B, P] int32, right-padded
  length: Array  # [B] int32, 1..P


@struct.dataclass
class Reference:
  """What a verifier needs. No test-time search has an argument of this type, so ground truth cannot
  reach it."""

  text: Array  # [B, Y] uint8, right-padded
  length: Array  # [B] int32
  numbers: Array  # [B, M] int32, -1 = unused
  task: Array | None = None  # [B] int32: `Problem.task`; None where there is no mixture


@struct.dataclass
class Sequences:
  """Rows of supervised text. A row packs several texts, and a token reads only its own."""

  tokens: Array  # [B, T] int32, right-padded
  length: Array  # [B] int32
  mask: Array  # [B, T] bool: True where the token is a target of the loss
  segment: Array  # [B, T] int32: which text of the row, from 1; 0 = padding


@struct.dataclass
class LabelledRows:
  """Rows of solutions with labels on steps, for a critic. A row packs several, and a token reads
  only its own."""

  tokens: Array  # [B, T] int32, right-padded
  length: Array  # [B] int32
  segment: Array  # [B, T] int32: which solution of the row, from 1; 0 = padding
  written: Array  # [B, T] bool: a token of a step, and not of a prompt
  target: Array  # [B, T] float32: what the critic should say after the token, in [0, 1]
  mask: Array  # [B, T] bool: the token ends a step that has a label


@struct.dataclass
class Tree:
  """A search, as arrays: what was expanded, what came out, and what was written on it.

  Node ids are arithmetic: the root is 0 and candidate `a` of slot `x` is `1 + x*A + a`.
  """

  expanded: Array  # [B, X] int32: id of the node that the slot expanded, -1 = slot unused
  path: Array  # [B, X, R] int32: ids from the root (column 0) to the expanded node, then -1
  tokens: Array  # [B, X, A, L] int32
  length: Array  # [B, X, A] int32: tokens generated, duplicates included
  logprob: Array  # [B, X, A, L] float32, of the policy that sampled, at the sampling temperature
  terminal: Array  # [B, X, A] bool: closed by the end token, the solution is complete
  mask: Array  # [B, X, A] bool: a real candidate; duplicates are merged into their first twin
  prior: Array  # [B, X, A] float32: share of the samples that fell on it, 0 where masked
  value: Array  # [B, X, A] float32: the critic's P(correct | prefix), in [0, 1]
  reward: Array  # [B, X, A] float32: what search backs up on reaching the node
  outcome: Array  # [B, X, A] float32: exact verdict on a terminal node, 0 elsewhere
  unjudged: Array  # [B, X, A] bool: a terminal node on which the verifier has no verdict
  visits: Array  # [B, X, A] int32
  q: Array  # [B, X, A] float32: mean backed-up return through the node, 0 where unvisited
  root_value: Array  # [B] float32: the critic's P(correct | prompt)
  token_value: Array  # [B, X, A, L] float32: the critic's P(correct) after each token
  # [B, X, A, L] bool: written and not sampled, such as what a world answers. No policy loss reads
  # it, and every count of tokens names it apart.
  given: Array
  # Numbers with names, [B, X, A] float32 each. The names are declared when the tree is made.
  scores: dict[str, Array] = struct.field(default_factory=dict)
  # The last slots that hold a candidate each, on one path.
  chain: int = struct.field(pytree_node=False, default=0)
  # N, where the tree is N independent chains: slot r*N + i holds step r of chain i. 0 for others.
  chains: int = struct.field(pytree_node=False, default=0)


class KeyValue(NamedTuple):
  """Some tokens of one layer: rotated keys, transposed, [B, K, ..., E, tokens]; values [B, K, ...,
  tokens, E]."""

  key: Array
  value: Array


@struct.dataclass
class TreeCache:
  """What the model remembers of a tree while it grows. It is dropped when the search returns.

  `prompt` and `nodes` hold a `KeyValue` per trunk and layer. Values are [B, K, P, E], and
  [B, K, X*A, L*E] for nodes (see `attention.as_blocks`). X counts the slots whose candidates may be
  expanded, which come first.
  """

  prompt: Any
  nodes: Any
  prompt_length: Array  # [B] int32
  root_hidden: Array  # [B, D]: final hidden state of the prompt's last token
  hidden: Array  # [B, X, A, D]: final hidden state of each node's last token


# Parameters by role: 'policy' is a language model, 'critic' a head on its trunk or a trunk of its
# own. A stage may add others.
Params = dict[str, Any]


@struct.dataclass
class Record:
  """What a stage has found out so far about each of the N problems of its pool."""

  tried: Array  # [N] int32: solutions with a verdict
  right: Array  # [N] int32: those that are right


@struct.dataclass
class TrainState:
  """All that an update changes."""

  update: Array  # [] int32
  params: Params
  optimizer: Any
  # What a loss reads and no gradient reaches, by role, such as 'reference', a policy. It is
  # separate, so that the parameters of a policy have one shape, whatever it is trained with.
  frozen: Params = struct.field(default_factory=dict)
  record: Record | None = None  # kept only where the draw of problems reads it


Metrics = dict[str, Array]
# (reference, tree, ids [B, N]) -> verdicts [B, N] float32, see `verify.outcome`
OutcomeFn = Callable[[Reference, Tree, Array], Array]
# (key, update, record, *, count) -> ids [count] of problems, see `learning.draw`
Draw = Callable[..., Array]


class Verifier(NamedTuple):
  """What judges solutions, in training and evaluation.

  Attributes:
    outcome: gives verdicts on nodes. It runs inside compiled programs.
    failure: tells why the verifier has stopped working, as an error of the host; None while it
      works.
    name: for people.
  """

  outcome: OutcomeFn
  failure: Callable[[], Exception | None] = lambda: None
  name: str = ''
