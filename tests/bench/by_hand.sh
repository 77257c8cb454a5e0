#!/usr/bin/env bash
# The manual's procedure as somebody who knows it would write it down: every step in its order, one host after the
# other, over ssh. What the orchestration is measured against (tests/bench/run); it guards and verifies nothing.
#
#   FAILED=east FAILED_HOSTS="east1 east2 east3" DEFINITIVE=west DEFINITIVE_HOSTS="west1 west2 west3" DONOR=west3 \
#     OTHER_SITES="west" OTHER_HOSTS="west1 west2 west3" by_hand.sh
#
# The first host of a site is its primary. Runs where root and the Tungsten user of every host can be reached by ssh;
# the donor's root must reach the failed primary's, for the copy. Each step is told on stdout: @ seconds step.
set -euo pipefail

PRIMARY=${FAILED_HOSTS%% *}
DEFINITIVE_PRIMARY=${DEFINITIVE_HOSTS%% *}
DATADIR=${DATADIR:-/var/lib/mysql}
CCTRL=/opt/continuent/tungsten/tungsten-manager/bin/cctrl
TREPCTL=/opt/continuent/tungsten/tungsten-replicator/bin/trepctl
MM_TREPCTL=/opt/replicator/tungsten/tungsten-replicator/bin/trepctl
TPROVISION=/opt/continuent/tungsten/tungsten-replicator/scripts/tprovision

step() { echo "@ $(date +%s.%N) $*"; }
as_root() { local host=$1; shift; ssh -n "root@$host" "$@"; }
as_tungsten() { local host=$1; shift; ssh -n "tungsten@$host" "$@"; }
# The commands for cctrl, one an argument.
cctrl() { local host=$1; shift; printf '%s\n' "$@" | ssh "tungsten@$host" "$CCTRL -expert"; }
trepctl() { local host=$1; shift; as_tungsten "$host" "$TREPCTL $*"; }
mm_trepctl() { local host=$1; shift; as_tungsten "$host" "$MM_TREPCTL $*"; }
mysql_answers() {
  local host=$1 left=120
  until as_root "$host" mysqladmin --silent ping; do
    left=$((left - 1)); [ "$left" -gt 0 ] || { echo "mysqld of $host does not answer" >&2; exit 1; }
    sleep 1
  done
}
mm_offline() { mm_trepctl "$1" -service "$2" offline; mm_trepctl "$1" -service "$2" wait -state OFFLINE -limit 60; }
mm_online() { mm_trepctl "$1" -service "$2" online; mm_trepctl "$1" -service "$2" wait -state ONLINE -limit 300; }

step 01 policy maintenance
cctrl "$PRIMARY" 'set policy maintenance'

step 02 routers offline
cctrl "$PRIMARY" 'router * offline'

step 03 cross-site service of the failed site reset
for host in $OTHER_HOSTS; do
  mm_offline "$host" "$FAILED"
  mm_trepctl "$host" -service "$FAILED" reset -all -y
done

step 04 cross-site services offline
for host in $FAILED_HOSTS; do
  for site in $OTHER_SITES; do mm_offline "$host" "$site"; done
done

step 05 primary shunned
cctrl "$PRIMARY" 'set force true' "datasource $PRIMARY shun" "replicator $PRIMARY offline"
trepctl "$PRIMARY" -service "$FAILED" wait -state OFFLINE -limit 60

step 06 donor shunned
cctrl "$DEFINITIVE_PRIMARY" "datasource $DONOR shun" "replicator $DONOR offline"
trepctl "$DONOR" -service "$DEFINITIVE" wait -state OFFLINE -limit 60
for site in $OTHER_SITES; do
  [ "$site" = "$DEFINITIVE" ] || mm_offline "$DONOR" "$site"
done

step 07 mysqld stopped
as_root "$PRIMARY" systemctl stop mysqld
as_root "$DONOR" systemctl stop mysqld

step 08 data deleted
mode=$(as_root "$PRIMARY" stat -c %a "$DATADIR")
as_root "$PRIMARY" "find $DATADIR -mindepth 1 -delete"

step 10 data copied
# Step 9 is not needed, since root writes.
as_root "$DONOR" "rsync -aze ssh $DATADIR/ root@$PRIMARY:$DATADIR/"

step 11 donor given back
as_root "$DONOR" systemctl start mysqld
mysql_answers "$DONOR"
cctrl "$DEFINITIVE_PRIMARY" "datasource $DONOR recover"
trepctl "$DONOR" -service "$DEFINITIVE" wait -state ONLINE -limit 300

step 12 ownership restored
as_root "$PRIMARY" "rm -f $DATADIR/auto.cnf; chown -R mysql:mysql $DATADIR; chmod $mode $DATADIR"

step 13 mysqld started
as_root "$PRIMARY" systemctl start mysqld
mysql_answers "$PRIMARY"

step 14 own service reset and online
trepctl "$PRIMARY" -service "$FAILED" offline
trepctl "$PRIMARY" -service "$FAILED" wait -state OFFLINE -limit 60
trepctl "$PRIMARY" -service "$FAILED" reset -all -y
trepctl "$PRIMARY" -service "$FAILED" online
trepctl "$PRIMARY" -service "$FAILED" wait -state ONLINE -limit 120

step 15 primary welcomed
cctrl "$PRIMARY" 'set force true' "datasource $PRIMARY welcome" "datasource $PRIMARY online"

step 16 replicas provisioned
for host in $FAILED_HOSTS; do
  [ "$host" != "$PRIMARY" ] || continue
  as_tungsten "$host" "$TPROVISION -s $PRIMARY -m xtrabackup"
  # In MAINTENANCE it ends OFFLINE.
  cctrl "$host" "datasource $host online"
  trepctl "$host" -service "$FAILED" wait -state ONLINE -limit 300
done

step 17 cross-site services of the failed site online
for host in $FAILED_HOSTS; do
  for site in $OTHER_SITES; do mm_online "$host" "$site"; done
done

step 18 cross-site services of the other sites online
for host in $OTHER_HOSTS; do
  mm_online "$host" "$FAILED"
done
for site in $OTHER_SITES; do
  [ "$site" = "$DEFINITIVE" ] || mm_online "$DONOR" "$site"
done

step 19 routers online
cctrl "$PRIMARY" 'router * online'

step 20 policy automatic
cctrl "$PRIMARY" 'set policy automatic'

step end
