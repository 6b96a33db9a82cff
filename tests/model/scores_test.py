import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.scores import token_scores


def _plain(logits, tokens):
  scores = jax.nn.log_softmax(logits)
  return (
    jnp.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0],
    -jnp.sum(jnp.exp(scores) * scores, axis=-1),
  )


def _split(scores):
  return scores[:2], scores.top


def test_scores_and_their_gradients_are_those_of_log_softmax():
  rng = np.random.default_rng(0)
  # Too large for exp alone.
  logits = jnp.asarray(20 * rng.normal(size=(3, 4, 7)) + 300, jnp.float32)
  tokens = jnp.asarray(rng.integers(0, 7, (3, 4)))
  pulls = tuple(jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(2))
  got, back, top = jax.vjp(
    lambda logits: _split(token_scores(logits, tokens)), logits, has_aux=True
  )
  expected, plain_back = jax.vjp(lambda logits: _plain(logits, tokens), logits)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4), got, expected)
  np.testing.assert_allclose(back(pulls)[0], plain_back(pulls)[0], atol=2e-4)
  np.testing.assert_array_equal(top, jnp.argmax(logits, axis=-1) == tokens)


def test_closed_forms():
  logprob, entropy, _ = token_scores(jnp.zeros((2, 8)), jnp.array([0, 5]))
  np.testing.assert_allclose(logprob, -np.log(8), rtol=1e-6)
  np.testing.assert_allclose(entropy, np.log(8), rtol=1e-6)
  _, sure, _ = token_scores(jnp.array([[50.0, 0.0]]), jnp.array([0]))
  np.testing.assert_allclose(sure, 0, atol=1e-6)
