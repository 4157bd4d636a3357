"""Which parts of DPDK a program is linked with.

Linked as pkg-config says, a program would load every driver of DPDK and their
libraries before main(), for 140 to 210 ms, whether it uses them or not. These
parts, linked statically, cost it 1 ms and 5 MB.
"""

_BUSES = ["bus_pci", "bus_vdev"]

# Without those that need libraries of their own (mlx4, mlx5, mana: libibverbs) or boards that are no server's.
_PHYSICAL = [
    "common_iavf",
    "net_e1000",
    "net_ena",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_igc",
    "net_ixgbe",
    "net_vmxnet3",
]

_VIRTUAL = [
    "net_af_packet",
    "net_null",
    "net_ring",
    "net_tap",
    "net_vhost",
    "net_virtio",
]

_CORE = [
    "cryptodev",
    "dmadev",
    "eal",
    "ethdev",
    "gso",
    "hash",
    "kvargs",
    "mbuf",
    "mempool",
    "mempool_ring",
    "meter",
    "net",
    "pci",
    "rcu",
    "ring",
    "security",
    "telemetry",
    "timer",
    "vhost",
]

DPDK_ARCHIVES = ["rte_" + name for name in _BUSES + _PHYSICAL + _VIRTUAL + _CORE]

DPDK_DEPENDENCIES = [
    "-l:libnuma.a",
    "-l:libbsd.a",
    "-l:libmd.a",
    "-lm",
    "-ldl",
    "-lpthread",
]
