#!/usr/bin/env bash
# In a virtual machine with two NICs: that it is one, and has what was asked for.
set -euo pipefail
fail() { echo "FAIL: $*" >&2; exit 1; }

uname -a
[[ $(uname -n) == guest ]] || fail 'this is not the guest'
((EUID == 0)) || fail 'not root'
[[ -d $TEST_TMPDIR && -e $0 ]] || fail "the host's files are not here"
touch "$TEST_TMPDIR/file" || fail 'cannot write'
grep -q '^HugePages_Total: *16$' /proc/meminfo || fail 'not 16 huge pages'
[[ $* == "an argument" ]] || fail "arguments: $*"

read -ra nics <<<"$WEFT_VM_NICS"
((${#nics[@]} == 2)) || fail "NICs: $WEFT_VM_NICS"
for nic in "${nics[@]}"; do
  [[ -e /sys/bus/pci/devices/$nic ]] || fail "no device $nic"
done

# Frames cross: an ARP request is answered by the other end, in a namespace of its own.
ip netns add peer
ip link set eth1 netns peer
ip -n peer addr add 10.77.1.2/24 dev eth1
ip -n peer link set eth1 up
ip addr add 10.77.1.1/24 dev eth0
ip link set eth0 up
arping -q -c 5 -f -w 20 -I eth0 10.77.1.2 || fail 'no frames cross'

# A cable that is pulled.
echo 'set_link nic0 off' >/run/port.monitor
for ((i = 0; i < 100; ++i)); do
  [[ $(</sys/class/net/eth0/carrier) == 1 ]] || break
  sleep 0.1
done
[[ $(</sys/class/net/eth0/carrier) == 0 ]] || fail 'the link stays up'

# Drivers that leave a NIC to user space, and back.
ip link set eth0 down
[[ $("$(dirname "$0")/bind_nics" uio_pci_generic "${nics[0]}") == "${nics[0]}" ]] || fail 'cannot bind'
[[ $(readlink "/sys/bus/pci/devices/${nics[0]}/driver") == */uio_pci_generic ]] || fail 'is not bound'
! "$(dirname "$0")/bind_nics" vfio-pci "${nics[0]}" 2>"$TEST_TMPDIR/errors" || fail 'vfio-pci without an IOMMU'
grep -q 'no IOMMU' "$TEST_TMPDIR/errors" || fail "says: $(<"$TEST_TMPDIR/errors")"
[[ $("$(dirname "$0")/bind_nics" virtio-pci "${nics[0]}") == "${nics[0]}" ]] || fail 'cannot give back'

echo kept >"$TEST_UNDECLARED_OUTPUTS_DIR/kept"
echo PASS
