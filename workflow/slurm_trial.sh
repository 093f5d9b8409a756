#!/usr/bin/env bash
# Runs the smoke grid, with the profile `slurm` as it is, on a SLURM cluster of one node that lives on this machine's
# loopback address while the script runs, and then tries what goes wrong on clusters. It prints a table of what happened
# and ends with status 1 if a trial went otherwise than workflow/README.md says. Everything lies in a temporary folder.
#
# Needs: root; the Debian packages slurm-wlm and munge; `make env .venv-grid/installed`. Where the two environments lie
# elsewhere, PATCHSCAPE names the one's executable and GRID_PYTHON the other's Python.
set -euo pipefail

refuse() {
  echo "slurm_trial.sh: $1" >&2
  exit 2
}

here=$(cd "$(dirname "$0")/.." && pwd)
patchscape=${PATCHSCAPE:-$here/.venv/bin/patchscape}
grid_python=${GRID_PYTHON:-$here/.venv-grid/bin/python}
[ "$(id -u)" = 0 ] || refuse "the daemons of the trial cluster need root: run it with sudo, or in a container."
export PATH=$PATH:/usr/sbin
for program in munged slurmctld slurmd sbatch pkill; do
  command -v $program >/dev/null ||
    refuse "$program was not found: install SLURM and munge (Debian: apt-get install slurm-wlm munge procps)."
done
[ -x "$patchscape" ] || refuse "$patchscape is missing: run 'make env' first."
[ -x "$grid_python" ] || refuse "$grid_python is missing: run 'make .venv-grid/installed' first."

# A folder's name as browsers and offices make them: every path below is used in it.
scratch=$(mktemp -d)
project="$scratch/my papers (1)"
mkdir -p "$project/workflow" "$project/.venv/bin" "$scratch/state" "$scratch/spool" "$scratch/bin"
cp -r "$here/workflow/Snakefile" "$here/workflow/profiles" "$project/workflow"
ln -s "$patchscape" "$project/.venv/bin/patchscape"
ln -s "$(dirname "$(dirname "$grid_python")")" "$project/.venv-grid"
export PATCHSCAPE="$project/.venv/bin/patchscape"
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$scratch/jax}
export SLURM_CONF=$scratch/slurm.conf
# On the node, the plugin takes SLURM_CONF from the environment of `srun`, which would look in /etc then.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$scratch/bin/srun"
chmod +x "$scratch/bin/srun"
export PATH=$scratch/bin:$PATH
cd "$project"

stop() { # SIGNAL DAEMON...
  local signal=$1
  shift
  for daemon in "$@"; do
    if [ -s "$scratch/$daemon.pid" ]; then kill "-$signal" "$(cat "$scratch/$daemon.pid")" 2>/dev/null || true; fi
  done
}

no_jobs() {
  local listed
  listed=$(squeue -h 2>/dev/null) && [ -z "$listed" ]
}

cleanup() {
  stop KILL snakemake
  scancel --user=root 2>/dev/null || true
  wait_for 20 no_jobs || true
  stop TERM slurmd slurmctld munged
  sleep 2
  pkill -KILL -f "$scratch/" || true  # what a cancelled job left: without control groups SLURM loses sight of it
  rm -rf "$scratch"
}
trap cleanup EXIT

start_cluster() {
  local ports node
  node=$(hostname -s)
  ports=$("$grid_python" -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(port.getsockname()[1] for port in taken))')
  cat >"$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$scratch/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=3600
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd.pid
SlurmctldLogFile=$scratch/slurmctld.log
SlurmdLogFile=$scratch/slurmd.log
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=trial Nodes=ALL Default=YES State=UP
CONF
  head -c 1024 /dev/urandom >"$scratch/munge.key"
  chmod 400 "$scratch/munge.key"
  munged --force --key-file="$scratch/munge.key" --socket="$scratch/munge.socket" --pid-file="$scratch/munged.pid" \
    --log-file="$scratch/munged.log" --seed-file="$scratch/munged.seed" 2>/dev/null
  slurmctld -f "$SLURM_CONF" 2>/dev/null
  slurmd -f "$SLURM_CONF" 2>/dev/null
  wait_for 60 node_is idle || refuse "the trial cluster did not start: $(tail -n 3 "$scratch/slurmctld.log")"
}

node_is() { [ "$(sinfo -h -o %T 2>/dev/null)" = "$1" ]; }

wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.3
  done
}

# The command of `make grid`; only the first look at a job's state comes sooner than after 40 seconds. A shell without a
# terminal would shield it from Ctrl-C.
call=(env --default-signal=INT "$project/.venv-grid/bin/python" -m snakemake -s workflow/Snakefile
  --profile workflow/profiles/slurm --slurm-init-seconds-before-status-checks 5 --config grid=smoke)

# Each trial has a result folder of its own.
begin() {
  trial=$1
  folder="data/results/$2"
  log="$scratch/$2.log"
  before=$(squeue -h --states=all -o %i | sort -n | tail -n 1)
  began=$SECONDS
  failed=""
}

# The job trains: it holds the lock of its result.
training() { [ -n "$(squeue -h -t running -o %i)" ] && compgen -G "$folder/unfinished/*.lock" >/dev/null; }

launch() { # TARGETS...
  "${call[@]}" "folder=$folder" -- "$@" >>"$log" 2>&1 &
  snakemake=$!
  echo $snakemake >"$scratch/snakemake.pid"
}

signal_job() { # SIGNAL
  pgrep -f "patchscape job smoke .* --folder $folder" | xargs kill "-$1"
}

# Starts the smaller job and holds it in the middle of its work, so that no outcome depends on how fast it is.
start() {
  launch "$folder/$smaller.safetensors"
  wait_for 120 training || failed="no job trains"
  signal_job STOP
}

ended() { [ -z "$(jobs -rp)" ]; }

finish() {
  if ! wait_for 1200 ended; then
    failed="${failed:-the call did not end}"
    kill -KILL $snakemake
  fi
  status=0
  wait $snakemake 2>/dev/null || status=$?
}

interrupt() { # SIGNAL
  kill "-$1" $snakemake 2>/dev/null || true
  finish
}

end() { # STATES THAT THE SLURM JOBS SHOULD HAVE, IN THE ORDER OF SUBMISSION
  local states
  states=$(squeue -h --states=all -o "%i %T" | sort -n | awk -v before="${before:-0}" '$1 > before {print $2}' |
    uniq -c | awk '{printf "%s%d %s", sep, $1, $2; sep = ", "}')
  [ $status = 0 ] || failed="${failed:-the call ended with status $status}"
  [ "$states" = "$1" ] || failed="${failed:-expected $1}"
  printf '%-51s | %-24s | %4d | %4d | %s\n' "$trial" "$states" $status $((SECONDS - began)) "${failed:-as documented}"
  if [ -n "$failed" ]; then
    wrong=1
    tail -n 40 "$log" >&2
  fi
}

start_cluster
wrong=0
smaller=$("$PATCHSCAPE" grid smoke --names)
smaller=${smaller%%$'\n'*}
printf '%-51s | %-24s | %-4s | %-4s | %s\n' "trial" "SLURM jobs" "exit" "s" "outcome"

begin "the whole grid" whole
launch
finish
end "4 COMPLETED"

begin "kill -9 of Snakemake; a call for the whole grid" killed
start
interrupt KILL
launch
wait_for 120 grep -q "waiting for it" "out/logs/$smaller-train.log" || failed="the new job did not wait"
signal_job CONT
finish
! grep -q epoch "out/logs/$smaller-train.log" || failed="what the first call's job trained was trained again"
end "5 COMPLETED"

begin "Ctrl-C, then the same call" interrupted
start
interrupt INT
launch "$folder/$smaller.safetensors"
finish
end "1 CANCELLED, 1 COMPLETED"

begin "scancel of a running job" cancelled
start
scancel --state=running --user=root
finish
end "1 CANCELLED, 1 COMPLETED"

begin "a job that hangs reaches its time limit" limit
start
scontrol update JobId="$(squeue -h -t running -o %i)" TimeLimit=1
finish
end "1 TIMEOUT, 1 COMPLETED"

begin "the node goes down under a job and comes back" down
start
scontrol update NodeName="$(hostname -s)" State=down Reason=trial
sleep 5
scontrol update NodeName="$(hostname -s)" State=resume
finish
end "1 COMPLETED"

begin "the controller is away; Ctrl-C, then the same call" controller
start
stop TERM slurmctld
wait_for 300 grep -q "Falling back to 'sacct'" "$log" || failed="the outage went unnoticed"
slurmctld -f "$SLURM_CONF" 2>/dev/null
wait_for 60 node_is allocated || wait_for 5 node_is mixed || failed="the controller did not come back"
signal_job CONT
wait_for 300 no_jobs || failed="the job did not end"
interrupt INT
launch "$folder/$smaller.safetensors"
finish
end "1 COMPLETED"

exit $wrong
