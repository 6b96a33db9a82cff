"""o1jax: the roadmap to o1 (policy, reward, search, learning) in JAX. Tool settings are in
pyproject.toml."""

from setuptools import find_packages, setup

# Models and tokenizers of Hugging Face; verdicts on math answers; tasks of reasoning-gym.
_HF = ['jinja2>=3.1.6', 'protobuf>=4.21', 'safetensors>=0.6', 'tokenizers>=0.21']
# math-verify pins latex2sympy2_extended; verify/math.py extends a class of it.
_MATH = ['math-verify>=0.9,<0.10']
# Its scorers evaluate text, so each version must be looked at (tasks/gym_family.py).
_TASKS = ['reasoning-gym==0.1.25']
_LIBTPU = ['jax[tpu]>=0.10.2']

setup(
  name='o1jax',
  version='0.1.0',
  description='The roadmap to o1 (arXiv:2412.14135) in JAX: policy, reward, search, learning',
  license='Apache-2.0',
  python_requires='>=3.11',
  # configs and experiments are packages too: `python -m experiments.o1` works wherever the package
  # is installed.
  packages=find_packages(
    include=['o1jax', 'o1jax.*', 'configs', 'configs.*', 'experiments', 'experiments.*']
  ),
  install_requires=[
    'absl-py>=2.3.1',
    'array_record>=0.8.1',
    'chex>=0.1.91',
    # flax 0.12.8, the last for Python 3.11, fails under jax >= 0.11.1. Python 3.11 stops at jax
    # 0.10.2, so there the two always fit; from 3.12 on flax must be newer, or a resolver may pair
    # it with a jax that it cannot import.
    'flax>=0.12.8; python_version < "3.12"',
    'flax>=0.12.9; python_version >= "3.12"',
    'grain>=0.2.12',
    'importlib_resources>=6.0',  # tensorflow-datasets imports it and does not declare it
    'jax>=0.10.2',
    'matplotlib>=3.8',
    'mctx>=0.0.71',
    'ml-collections>=1.0',
    'numpy>=2.0',
    'optax>=0.2.6',
    'orbax-checkpoint>=0.12',
    'scipy>=1.14',
    'sentencepiece>=0.2',
    'tensorboardX>=2.6.2',
    'tensorflow-datasets>=4.9.8',
    'tqdm>=4.66',
  ],
  extras_require={
    'gpu': [
      'jax[cuda12]>=0.10.2',
    ],
    'tpu': _LIBTPU,  # to run on TPUs
    'aot': _LIBTPU,  # to compile for TPUs without any (experiments.aot)
    'hf': _HF,
    'math': _MATH,
    'tasks': _TASKS,
    'test': [
      *_HF,
      *_MATH,
      *_TASKS,
      'ipykernel>=6.29',
      'nbclient>=0.10',
      'nbformat>=5.10',
      'pytest>=8.3',
      'pytest-timeout>=2.3',
      'pytest-xdist>=3.6',
      'ruff>=0.12,<0.18',
    ],
    # The models that ours are compared with, by tests marked so, experiments.convert and
    # experiments.benchmark.
    'parity': [
      'torch>=2.6',
      'transformers>=4.56',
    ],
    'notebooks': [
      'ipykernel>=6.29',
      'jupyterlab>=4.2',
      'nbformat>=5.10',
    ],
  },
)
