#!/usr/bin/env bash
# Train with one process per GPU (on a machine without GPUs: on the CPU).
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT for several machines (start it on each);
# PORT alone fixes the port of one machine; OMP_NUM_THREADS threads of each process; PYTHON.
set -euo pipefail

if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2

source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
