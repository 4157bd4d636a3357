"""Tests that run in a virtual machine: with NICs to give to DPDK, kernel modules, RDMA."""

# Drivers that leave a NIC to user space.
_DRIVERS = ["uio_pci_generic", "vfio-pci"]

_TAGS = [
    # It wants both processors, and time.
    "exclusive",
    # A sanitizer would run in emulation; what it could find, a test without a machine shows as
    # well.
    "no_sanitizer",
    # The first one fetches the kernel.
    "requires-network",
]

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

        weft_cc_test(name = "nic_test", tags = ["manual"], ...)   # not on the host as well
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
      rdma: whether there are Soft-RoCE devices rxe0 (10.77.0.1, fd77::1) and rxe1 (10.77.0.2, fd77::2).
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
        tags = tags + _TAGS,
        **kwargs
    )

def vm_program(test, name = None, needs = "rdma", driver = None, limit_s = 60):
    """A program of a vm_suite.

    Args:
      test: label of a cc_test tagged "manual", a cc_binary or an sh_binary. Exit status 0 is success.
      name: what it is called in the output; by default the name of `test`, and the driver.
      needs: "rdma": it runs on RDMA devices, those of the machine or of the guest. "machine": it runs in the guest
        only, as it breaks the network or takes NICs.
      driver: "uio_pci_generic" or "vfio-pci": the guest's NICs are bound to it first, and are in WEFT_VM_NICS.
      limit_s: seconds after which it is ended and has failed.

    Returns:
      What vm_suite takes.
    """
    if needs not in ["rdma", "machine"]:
        fail("%s: needs is rdma or machine, not %s" % (test, needs))
    if driver and driver not in _DRIVERS:
        fail("%s: driver is one of %s, not %s" % (test, ", ".join(_DRIVERS), driver))
    if not name:
        name = test.rpartition(":")[2] + ("." + driver if driver else "")
    return struct(
        test = test,
        name = name,
        needs = "machine" if driver else needs,
        driver = driver or "none",
        limit_s = limit_s,
    )

def vm_suite(name, programs, nics = 0, hugepages = 0, processors = 2, memory = "2G", limit_s = 240, data = [], tags = []):
    """One test that runs many programs in one boot of a virtual machine with RDMA devices and NICs.

        vm_suite(
            name = "suite",
            programs = [
                vm_program(":verbs_nic_vm_test"),
                vm_program(":loss_vm_test", needs = "machine"),
                vm_program("//transports/dpdk:dpdk_vm_test", driver = "vfio-pci"),
            ],
            hugepages = 256,
            nics = 3,
        )

    Where this machine has an RDMA device, programs that need no more than that run on it directly. Where no machine
    can start the others say SKIPPED and why. A program that fails, crashes or hangs hides no other; the output
    ends with a table of all, and test.xml has the test cases of all.

        bazel test //x:suite --test_arg=loss_vm_test      # one program of it
        bazel test //x:suite --test_filter='Loss.*'       # as gtest has it, in all programs
        bazel test //x:suite --test_env=WEFT_RDMA_DEVICES=mlx5_1 --test_env=WEFT_RDMA_ADDRESSES=10.0.0.1

    Programs find in their environment, with a space between the two ends:
      WEFT_RDMA_DEVICES: names, "rxe0 rxe1" in the guest; the same twice on a machine with one device.
      WEFT_RDMA_ADDRESSES: IPv4 addresses, "10.77.0.1 10.77.0.2" in the guest.
      WEFT_RDMA_NETWORK: in the guest only: path of tools/vm/rdma_network, with which the network may be broken:
        `netem loss 10%`, `down`, `up`, `mend`. It is mended after each program.
      WEFT_VM_NICS: PCI addresses of NICs, for programs with a driver.

    Args:
      name: name of the target.
      programs: list of vm_program().
      nics: as in vm_test.
      hugepages: as in vm_test.
      processors: as in vm_test.
      memory: as in vm_test.
      limit_s: seconds that the machine may live, 285 at most; programs that had no turn by then have failed.
      data: as in sh_test; further files of the programs.
      tags: as in sh_test.
    """
    options = ["--net", "--nic", str(nics), "--hugepages", str(hugepages), "--smp", str(processors), "--mem", memory]
    options += ["--timeout", str(limit_s)]
    if "vfio-pci" in [program.driver for program in programs]:
        # Other drivers' devices see memory as it is.
        options += ["--iommu", "--append", "iommu=pt"]
    words = []
    names = {}
    for program in programs:
        if program.name in names:
            fail("//%s:%s: two programs are named %s" % (native.package_name(), name, program.name))
        names[program.name] = True
        words += [program.name, str(program.limit_s), program.needs, program.driver]
        words.append("$(rootpath %s)" % program.test)
    tests = {program.test: True for program in programs}.keys()
    native.sh_test(
        name = name,
        size = "large",
        srcs = [str(Label("//tools/vm:suite_test.sh"))],
        args = options + ["--"] + words + ["--"],
        data = data + tests + [str(Label("//tools/vm:vm"))],
        tags = tags + _TAGS,
    )
