#!/usr/bin/env bash
# Test on a slurm cluster.
#   tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [arguments of tools/test.py]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: $0 PARTITION JOB CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
CONFIG=$3
CHECKPOINT=$4
shift 4

source "$(dirname "${BASH_SOURCE[0]}")/slurm_launch.sh"
slurm_launch "$PARTITION" "$JOB" "$TOOLS/test.py" "$CONFIG" --checkpoint "$CHECKPOINT" "$@"
