"""Tests that run in a virtual machine: with NICs to give to DPDK, kernel modules, RDMA."""

# Drivers that leave a NIC to user space.
_DRIVERS = ["uio_pci_generic", "vfio-pci"]

def vm_test(
        name,
        test,
        args = [],
        nics = 0,
        driver = None,
        iommu = False,
        hugepages = 0,
        rdma = False,
        modules = [],
        processors = 2,
        memory = "2G",
        data = [],
        size = "large",
        tags = [],
        **kwargs):
    """Runs a test in a virtual machine (tools/vm/run), as root, with the devices it asks for.

        cc_test(name = "nic_test", tags = ["manual"], ...)   # not on the host as well
        vm_test(name = "nic_vm_test", test = ":nic_test", nics = 2, driver = "vfio-pci", hugepages = 128)

    Passes if the test exits with status 0 there. Where no machine can start it says SKIPPED and why, and
    passes. A boot takes 3 s to 15 s of emulation, in which code is some thirty times slower: put many cases
    in one test, and give deadlines of seconds.

    Args:
      name: name of the target.
      test: the program: a cc_test, cc_binary or sh_binary. Its runfiles, working directory and environment are as
        they are on the host; what it writes is gone afterwards, except below TEST_UNDECLARED_OUTPUTS_DIR.
      args: its arguments.
      nics: number of virtio NICs that exchange frames, at most 8. Their PCI addresses are in the environment:
        WEFT_VM_NICS, with a space between. `set_link nic0 off` written to /run/port.monitor pulls a cable.
      driver: "uio_pci_generic" or "vfio-pci", to leave the NICs to user space; without one they are eth0, eth1, ...
      iommu: whether there is an IOMMU; there always is for vfio-pci.
      hugepages: number of huge pages of 2 MiB, mounted at /dev/hugepages.
      rdma: whether there are Soft-RoCE devices rxe0 (10.77.0.1) and rxe1 (10.77.0.2).
      modules: further modules of the kernel to load.
      processors: how many there are.
      memory: how much of it, as QEMU has it.
      data: as in sh_test.
      size: as in sh_test.
      tags: as in sh_test.
      **kwargs: as in sh_test.
    """
    here = "//%s:%s" % (native.package_name(), name)
    if driver and driver not in _DRIVERS:
        fail("%s: driver is one of %s, not %s" % (here, ", ".join(_DRIVERS), driver))
    if driver and not nics:
        fail("%s: no NICs to bind to %s" % (here, driver))
    options = ["--nic", str(nics), "--hugepages", str(hugepages), "--smp", str(processors), "--mem", memory]
    if driver:
        options += ["--bind", driver]
    if iommu:
        options.append("--iommu")
    if rdma:
        options.append("--net")
    for module in modules:
        options += ["--module", module]
    native.sh_test(
        name = name,
        size = size,
        srcs = [str(Label("//tools/vm:vm_test.sh"))],
        args = options + ["--", "$(rootpath %s)" % test] + args,
        data = data + [test, str(Label("//tools/vm:vm"))],
        tags = tags + [
            # It wants both processors, and time.
            "exclusive",
            # A sanitizer would run in emulation; what it could find, a test without a machine shows as well.
            "no_sanitizer",
            # The first one fetches the kernel.
            "requires-network",
        ],
        **kwargs
    )
