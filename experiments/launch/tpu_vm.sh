#!/usr/bin/env bash
# On all hosts of a TPU slice, with this checkout in ~/o1jax: experiments/launch/tpu_vm.sh NAME ZONE CONFIG WORKDIR [OPTIONS]
set -euo pipefail
name="$1" zone="$2" config="$3" workdir="$4"
shift 4
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="cd o1jax && python3 -m venv .venv &&
  .venv/bin/pip install -q -e '.[tpu]' && .venv/bin/python -m experiments.o1 --config=$config --workdir=$workdir $*"
