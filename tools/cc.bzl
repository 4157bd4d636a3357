"""C++ rules of this repository: the field's rules, the project's include prefix and its layering."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

# Each room and the rooms it may use (docs/architecture.md). A room always sees itself, tools and third-party code.
_SERVICE = ["core", "config", "transports", "netstack", "r2p2"]
_HOST = _SERVICE + ["rpc", "router", "tcp", "dsm", "p4"]
_PROGRAM = _HOST + ["host"]
_ROOMS = {
    "core": [],
    "config": ["core"],
    "transports": ["core", "config"],
    "netstack": ["core", "config", "transports"],
    "r2p2": ["core", "config", "transports"],
    "rpc": _SERVICE,
    "router": _SERVICE,
    "tcp": _SERVICE,
    "dsm": _SERVICE,
    "p4": _SERVICE,
    "host": _HOST,
    "benchmarks": _PROGRAM + ["examples"],
    "cli": _PROGRAM,
    "examples": _PROGRAM,
}

def _room(label):
    """The top folder of a label of this repository; None for other repositories and for labels of the same package."""
    if label.startswith("@weft//"):
        label = label[len("@weft"):]
    if not label.startswith("//"):
        return None
    return label[2:].partition(":")[0].partition("/")[0]

def layering_error(package, name, deps):
    """Says which of a library's deps the layering forbids.

    Args:
      package: package of the library.
      name: name of the library.
      deps: its deps, as written.

    Returns:
      A message, or None if all deps are allowed.
    """
    here = package.partition("/")[0]
    if here not in _ROOMS:
        return None
    for dep in deps:
        room = _room(dep)
        if room in _ROOMS and room != here and room not in _ROOMS[here]:
            return "//%s:%s may not depend on %s: %s/ may use only %s (docs/architecture.md)" % (
                package,
                name,
                dep,
                here,
                ", ".join([r + "/" for r in _ROOMS[here]]) or "itself",
            )
    return None

def _compile(rule, name, headers, deps = [], copts = [], **kwargs):
    """A rule whose sources take in headers that tools/precompiled has compiled."""
    off = str(Label("//tools/precompiled:off"))
    rule(
        name = name,
        # First: GCC takes nothing precompiled after it has seen other headers.
        copts = select({
            off: [],
            "//conditions:default": ["-include", "weft_%s.h" % headers],
        }) + copts,
        deps = deps + select({
            off: [],
            "//conditions:default": [str(Label("//tools/precompiled:" + headers))],
        }),
        **kwargs
    )

def weft_cc_test(name, **kwargs):
    """A cc_test that does not compile the headers of GoogleTest, Abseil, ... anew.

    Args:
      name: as in cc_test.
      **kwargs: as in cc_test.
    """
    _compile(cc_test, name, "library_test", **kwargs)

def weft_cc_binary(name, **kwargs):
    """A cc_binary that does not compile the headers of Abseil, Protobuf, ... anew.

    Args:
      name: as in cc_binary.
      **kwargs: as in cc_binary.
    """
    _compile(cc_binary, name, "library", **kwargs)

def weft_cc_library(name, deps = [], **kwargs):
    """A cc_library whose headers are included as "weft/<package>/<header>", and whose deps point down.

    Args:
      name: as in cc_library.
      deps: as in cc_library; labels of rooms that this one may not use are refused.
      **kwargs: as in cc_library.
    """
    error = layering_error(native.package_name(), name, deps)
    if error:
        fail(error)
    _compile(
        cc_library,
        name,
        "library",
        include_prefix = "weft/" + native.package_name(),
        deps = deps,
        **kwargs
    )
