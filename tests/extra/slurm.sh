#!/bin/bash
# A sweep as a Slurm array, against a real slurmctld and slurmd on loopback: the script that
# `tinyllm run --slurm` prints is submitted, and its shards merged give what one run gives.
#   slurm.sh PROGRAM        77: skipped (no Slurm, or not root)
set -euo pipefail
program=$(readlink -f "$1")
for needed in munged slurmctld slurmd sbatch squeue; do
  if ! PATH=$PATH:/usr/sbin command -v $needed >/dev/null; then
    echo "skipped: no $needed (Debian: slurm-wlm, munge)"
    exit 77
  fi
done
[ "$(id -u)" = 0 ] || { echo 'skipped: the daemons need root'; exit 77; }
export PATH=$PATH:/usr/sbin

place=$(mktemp -d /tmp/tinyllm-slurm-XXXXXX)
daemons=()
finish() {
  local status=$?
  if [ $status -ne 0 ]; then tail -n 20 "$place"/*.log "$place"/work/*.log 2>/dev/null || true; fi
  [ ${#daemons[@]} -eq 0 ] || kill "${daemons[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$place"
  exit $status
}
trap finish EXIT
mkdir -p "$place"/{state,spool,work}
chmod 755 "$place"

# Ports that are likely free, for several such tests may run at once.
port=$((20000 + $$ % 20000))
node=$(hostname -s)
dd if=/dev/urandom of="$place/key" bs=1024 count=1 status=none
chmod 600 "$place/key"
cat >"$place/slurm.conf" <<CONF
ClusterName=tinyllm
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge.socket
CredType=cred/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$place/slurm.conf

munged --foreground --force --key-file "$place/key" --socket "$place/munge.socket" \
  --pid-file "$place/munged.pid" --log-file "$place/munged.log" --seed-file "$place/munged.seed" \
  >"$place/munged.out.log" 2>&1 &
daemons+=($!)
until [ -S "$place/munge.socket" ]; do sleep 0.1; kill -0 "${daemons[0]}"; done
slurmctld -D >"$place/slurmctld.out.log" 2>&1 &
daemons+=($!)
slurmd -D -N "$node" >"$place/slurmd.out.log" 2>&1 &
daemons+=($!)
for _ in $(seq 150); do
  sinfo --noheader --format %t 2>/dev/null | grep -q '^idle' && break
  sleep 0.2
done
sinfo --noheader --format %t | grep -q '^idle' || { echo 'the node did not come up'; exit 1; }

cd "$place/work"
wait_for_jobs() {
  for _ in $(seq 600); do
    [ -n "$(squeue --noheader 2>/dev/null)" ] || return 0
    sleep 0.2
  done
  squeue
  return 1
}
"$program" run -m @demo -t @demo -o "the shards" --threads 1 --slurm >job.sbatch
tasks=$(sed -n 's/^#SBATCH --array=1-//p' job.sbatch)
[ "$tasks" -ge 2 ]
sbatch --parsable job.sbatch >job.id
wait_for_jobs
for i in $(seq "$tasks"); do [ -f "the shards/shard-$i/run.sqlite" ]; done
"$program" merge "the shards"/shard-* -o "the shards/whole"

"$program" run -m @demo -t @demo -o alone --threads 1 >alone.txt 2>alone.log
# All but the times and the memory.
accuracies() { "$program" report "$1" --format md | sed -n '/## Accuracy/,/## Inference/p'; }
accuracies alone >alone.md
accuracies "the shards/whole" >whole.md
grep -q demo- alone.md
cmp alone.md whole.md
echo "array of $tasks tasks: its shards, merged, are the run"

# Cancelled in the middle, submitted again: goes on where it was.
"$program" run -m @demo -t @demo -o again --threads 1 --protocol study,letter,loglikelihood \
  --slurm --shard 1/1 >again.sbatch
id=$(sbatch --parsable again.sbatch)
count() { python3 -c "
import sqlite3
print(sqlite3.connect('again/shard-1/run.sqlite').execute('SELECT count(*) FROM example').fetchone()[0])" \
  2>/dev/null || echo 0; }
for _ in $(seq 300); do [ "$(count)" -gt 20 ] && break; sleep 0.05; done
scancel --signal=TERM --batch "${id}_1" || true
wait_for_jobs
stopped=$(count)
sbatch --parsable again.sbatch >/dev/null
wait_for_jobs
[ "$stopped" -gt 20 ] && [ "$(count)" -ge "$stopped" ]
"$program" report again/shard-1 --format json | grep -q '"verdict": *"done"'
if "$program" report again/shard-1 --format json | grep -q '"verdict": *"interrupted"'; then exit 1; fi
echo "stopped at $stopped examples, finished with $(count)"
