# Sourced by dist_train.sh and dist_test.sh: starts the processes of this machine.
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python}
if ! "$PYTHON" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))'; then
    echo "error: $(command -v "$PYTHON" || echo "$PYTHON") has no torch. Activate the environment (source .venv/bin/activate) or set PYTHON=/path/to/python." >&2
    exit 1
fi

# launch GPUS SCRIPT [arguments]
launch() {
    local gpus=$1
    shift
    local cores
    cores=$("$PYTHON" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
    # all processes have the same number of threads, so that they round alike
    local threads=$((cores / gpus > 8 ? 8 : cores / gpus))
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
    export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
    local place=(--standalone)
    if [[ ${NNODES:-1} != 1 || -n ${PORT:-} ]]; then
        place=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
            --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
    fi
    exec "$PYTHON" -m torch.distributed.run "${place[@]}" --nproc_per_node "$gpus" "$@"
}
