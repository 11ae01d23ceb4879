"""What SLURM and Grid Engine want to read: two literal rows, one body, and a table between them.

`seg_lib.cluster` fills them in. Taught in notebook 19.
"""

from dataclasses import dataclass

NOTICE_S = 120  # seconds between the scheduler's warning and the end; a step and a save fit in

# What the move of source 000 from Grid Engine to SLURM meant, line by line.
SGE_TO_SLURM = {
    "#$ -N name": "#SBATCH --job-name=name",
    "#$ -q gpu.q": "#SBATCH --partition=gpu",
    "#$ -pe smp 16": "#SBATCH --cpus-per-task=16",
    "#$ -l gpu=2": "#SBATCH --gres=gpu:2",
    "#$ -l h_rt=10:00:00": "#SBATCH --time=10:00:00",
    "#$ -cwd -V": "(SLURM does so by itself)",
    "#$ -j y -o job.log": "#SBATCH --output=job.log --open-mode=append",
    "#$ -t 1-6 -tc 2": "#SBATCH --array=0-5%2",
    "#$ -notify": f"#SBATCH --signal=B:USR1@{NOTICE_S}",
    "#$ -r y": "#SBATCH --requeue",
    "$JOB_ID, $SGE_TASK_ID": "$SLURM_JOB_ID, $SLURM_ARRAY_TASK_ID",
    "$RESTARTED": "$SLURM_RESTART_COUNT",
    "exit 99": 'scontrol requeue "$SLURM_JOB_ID"',
    "qsub, qstat, qdel": "sbatch, squeue, scancel",
}


@dataclass(frozen=True)
class Scheduler:
    """What a script must say differently; words in braces are filled in."""

    submit: str  # the command that takes a script
    directives: tuple[str, ...]  # always
    cpus: str  # where several are wanted
    partition: str  # where one is named
    gpus: str  # where some are wanted
    array: str  # of several trainings
    element: str  # number of this training in the array
    first: str  # what the number of the first is
    restarts: str  # how often the job was started before
    again: str  # what puts the job back into the queue


SCHEDULERS = {
    "slurm": Scheduler(
        submit="sbatch",
        directives=(
            "#SBATCH --job-name={name}",
            "#SBATCH --output=job-%j.log",
            "#SBATCH --open-mode=append",
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            "#SBATCH --time={time}",
            f"#SBATCH --signal=B:USR1@{NOTICE_S}",
            "#SBATCH --requeue",
        ),
        cpus="#SBATCH --cpus-per-task={cpus}",
        partition="#SBATCH --partition={partition}",
        gpus="#SBATCH --gres=gpu:{gpus}",
        array="#SBATCH --array=0-{last}",
        element="${SLURM_ARRAY_TASK_ID:-0}",
        first="0",
        restarts="${SLURM_RESTART_COUNT:-0}",
        again='scontrol requeue "$SLURM_JOB_ID"',
    ),
    "sge": Scheduler(
        submit="qsub",
        directives=(
            "#$ -N {name}",
            "#$ -S /bin/bash",
            "#$ -cwd",
            "#$ -V",
            "#$ -j y",
            "#$ -o job-$JOB_ID.log",
            "#$ -l h_rt={time}",
            "#$ -notify",
            "#$ -r y",
        ),
        cpus="#$ -pe smp {cpus}",
        partition="#$ -q {partition}",
        gpus="#$ -l gpu={gpus}",
        array="#$ -t 1-{count}",
        element="${SGE_TASK_ID:-undefined}",
        first="1 | undefined",  # without an array
        restarts="${RESTARTED:-0}",
        again="exit 99",
    ),
}

# The rest of every script; @…@ is filled in by `seg_lib.cluster`.
BODY = r"""
# Written by seg-lib job. Exit code 75 of a training: saved, not complete.
set -u
export OMP_NUM_THREADS=@THREADS@
restarts=@RESTARTS@

# What to run, and the folder that gets the results.
case "@ELEMENT@" in
@CASES@
  *) echo "There is no run number @ELEMENT@ in this script." >&2; exit 2 ;;
esac
mkdir -p "$out"

# Go on where an earlier try stopped.
if [ "$resumable" = yes ]; then
  if [ -n "$(ls "$out"/{,image_only/}last{,.previous}.safetensors 2>/dev/null)" ]; then
    command+=(--resume)
  elif [ "$restarts" != 0 ]; then
    rm -f "$out/best.safetensors"  # killed before anything was saved to go on from: begin again
  fi
fi

# Start; hand a warning on to the training and wait until it has saved.
asked=""
child=""
trap 'asked=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' USR1 USR2 TERM
( trap "" USR1 USR2; exec "${command[@]}" ) &
child=$!
[ -z "$asked" ] || kill -TERM "$child"
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done

# Interrupted, and for the first time: back into the queue.
if [ "$code" != 0 ] && { [ "$asked" = yes ] || [ "$code" = 75 ]; }; then
  if [ "$restarts" = 0 ]; then
    echo "Interrupted (code $code): back into the queue."
    @AGAIN@
  else
    echo "Interrupted again (code $code): submit this script once more to go on."
  fi
fi
exit "$code"
"""
