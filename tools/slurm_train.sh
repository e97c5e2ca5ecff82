#!/usr/bin/env bash
# Train on a slurm cluster.
#   tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of tools/train.py]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: $0 PARTITION JOB CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
CONFIG=$3
WORK_DIR=$4
shift 4

source "$(dirname "${BASH_SOURCE[0]}")/slurm_launch.sh"
slurm_launch "$PARTITION" "$JOB" "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" "$@"
