#!/usr/bin/env bash
# One process a node, all GPUs of each: sbatch --nodes=4 experiments/launch/slurm.sh CONFIG WORKDIR [OPTIONS]
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
config="$1" workdir="$2"
shift 2
srun --kill-on-bad-exit=1 .venv/bin/python -m experiments.o1 --config="$config" --workdir="$workdir" "$@" || {
  code=$?
  [ "$code" = 3 ] && scontrol requeue "$SLURM_JOB_ID"  # stopped by a signal, all is saved
  exit "$code"
}
