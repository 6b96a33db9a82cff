#!/usr/bin/env bash
# One process a GPU, as jax takes SLURM: sbatch --nodes=4 experiments/launch/slurm.sh CONFIG WORKDIR [OPTIONS]
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
config="$1" workdir="$2"
shift 2
cpus=$((SLURM_CPUS_ON_NODE / 8))
srun --kill-on-bad-exit=1 --cpus-per-task="$cpus" .venv/bin/python -m experiments.o1 --config="$config" \
  --workdir="$workdir" "$@" || {
  code=$?
  [ "$code" = 3 ] && scontrol requeue "$SLURM_JOB_ID"  # stopped by a signal, all is saved
  exit "$code"
}
