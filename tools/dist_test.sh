#!/usr/bin/env bash
# Test with one process per GPU (on a machine without GPUs: on the CPU).
#   tools/dist_test.sh CONFIG GPUS --checkpoint FILE [arguments of tools/test.py]
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]     (order of 1.x)
# Environment: see tools/dist_train.sh.
set -euo pipefail

NUMBER='^[1-9][0-9]*$'
if [[ $# -ge 2 && $2 =~ $NUMBER ]]; then
    CONFIG=$1
    GPUS=$2
    shift 2
elif [[ $# -ge 3 && $3 =~ $NUMBER ]]; then
    CONFIG=$1
    GPUS=$3
    CHECKPOINT=$2
    shift 3
    set -- --checkpoint "$CHECKPOINT" "$@"
else
    echo "usage: $0 CONFIG GPUS --checkpoint FILE [arguments of tools/test.py]" >&2
    echo "   or: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi

source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "$GPUS" "$TOOLS/test.py" "$CONFIG" --launcher pytorch "$@"
