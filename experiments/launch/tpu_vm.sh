#!/usr/bin/env bash
# On all hosts of a TPU slice, with this checkout in ~/o1jax: experiments/launch/tpu_vm.sh NAME ZONE CONFIG WORKDIR [OPTIONS]
set -euo pipefail
name="$1" zone="$2" config="$3" workdir="$4"
shift 4
job=(.venv/bin/python -m experiments.o1 --coordinator=auto --config="$config" --workdir="$workdir" "$@")
# uv brings a Python of its own: the images' may be too old.
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="cd o1jax &&
  curl -LsSf https://astral.sh/uv/install.sh | sh && ~/.local/bin/uv venv -q -p 3.12 --allow-existing .venv &&
  ~/.local/bin/uv pip install -q -p .venv -e '.[tpu]' &&$(printf ' %q' "${job[@]}")"
