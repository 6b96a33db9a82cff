#!/usr/bin/env bash
# A workload on a GKE cluster with TPUs: experiments/launch/xpk.sh CLUSTER TPU_TYPE STORAGE CONFIG WORKDIR [OPTIONS]
set -euo pipefail
cluster="$1" tpu="$2" storage="$3" config="$4" workdir="$5"
shift 5
job=(python -m experiments.o1 --config="$config" --workdir="$workdir" "$@")
xpk workload create --cluster="$cluster" --tpu-type="$tpu" --storage="$storage" --workload="o1jax-$(date +%m%d-%H%M)" \
  --base-docker-image=python:3.12 --script-dir=. --max-restarts=10 \
  --command="pip install -q -e '.[tpu]' &&$(printf ' %q' "${job[@]}")"
