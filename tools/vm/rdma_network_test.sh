#!/usr/bin/env bash
# In the guest of a vm_suite: two RDMA devices whose traffic crosses a network that can be broken.
set -euo pipefail
fail() { echo "FAIL: $*" >&2; exit 1; }

read -ra devices <<<"$WEFT_RDMA_DEVICES"
read -ra addresses <<<"$WEFT_RDMA_ADDRESSES"
((${#devices[@]} == 2 && ${#addresses[@]} == 2)) || fail "$WEFT_RDMA_DEVICES; $WEFT_RDMA_ADDRESSES"
active() { [[ $(<"/sys/class/infiniband/${devices[$1]}/ports/1/state") == *ACTIVE* ]]; }
reaches() { ping -q -n -c 1 -W "$1" -I "$2" "$3" >/dev/null; }
# In the end, as a neighbour that was asked for in vain is not asked for again at once.
both_reach() {
  local i
  for ((i = 0; i < 20; ++i)); do
    ! { reaches 1 "${addresses[0]}" "${addresses[1]}" && reaches 1 fd77::2 fd77::1; } || return 0
  done
  return 1
}

both_active() { active 0 && active 1; }
both_active || fail 'a port is not active'
for i in 0 1; do
  [[ $(<"/sys/class/infiniband/rxe$i/ports/1/gids/1") == *:ffff:0a4d:000$((i + 1)) ]] || fail "GID 1 of rxe$i"
  [[ $(<"/sys/class/infiniband/rxe$i/ports/1/gids/2") == fd77:*:000$((i + 1)) ]] || fail "GID 2 of rxe$i"
done
sent() { cat /sys/class/net/rv0/statistics/tx_packets; }
before=$(sent)
both_reach || fail 'no way'
(($(sent) > before)) || fail 'the traffic does not cross the pair'

"$WEFT_RDMA_NETWORK" netem loss 100%
! reaches 1 "${addresses[0]}" "${addresses[1]}" || fail 'nothing is lost'
"$WEFT_RDMA_NETWORK" mend
both_reach || fail 'no way after loss'

"$WEFT_RDMA_NETWORK" down
! active 1 || fail 'the port stays active'
! reaches 1 "${addresses[0]}" "${addresses[1]}" || fail 'the link is not down'
"$WEFT_RDMA_NETWORK" up
both_reach || fail 'no way after the link came back'
for ((i = 0; i < 100; ++i)); do
  ! both_active || break
  sleep 0.1
done
both_active || fail 'a port stays down'
echo PASS
