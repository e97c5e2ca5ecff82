# Sourced by slurm_train.sh and slurm_test.sh: one task per GPU.
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python}
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}

# slurm_launch PARTITION JOB SCRIPT [arguments]
slurm_launch() {
    local partition=$1 job=$2
    shift 2
    local per_node=$((GPUS < GPUS_PER_NODE ? GPUS : GPUS_PER_NODE))
    local extra=()
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # of each process; data workers use the others
    read -r -a extra <<<"${SRUN_ARGS:-}"
    export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
    exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$GPUS" \
        --ntasks-per-node="$per_node" --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 \
        "${extra[@]}" "$PYTHON" -u "$@" --launcher slurm
}
