#!/usr/bin/env bash
# A workload on a GKE cluster with TPUs: experiments/launch/xpk.sh CLUSTER TPU_TYPE CONFIG WORKDIR [OPTIONS]
set -euo pipefail
cluster="$1" tpu="$2" config="$3" workdir="$4"
shift 4
xpk workload create --cluster="$cluster" --tpu-type="$tpu" --workload="o1jax-$(date +%m%d-%H%M)" \
  --base-docker-image=python:3.12 --script-dir=. --max-restarts=10 \
  --command="pip install -q -e '.[tpu]' && python -m experiments.o1 --config=$config --workdir=$workdir $*"
