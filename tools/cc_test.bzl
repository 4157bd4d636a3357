"""A test of the layering that cc.bzl checks."""

load(":cc.bzl", "layering_error")

_ALLOWED = [
    ("core", [":clock", "//core:ring", "@com_google_absl//absl/status", "//third_party:x", "//tools/fuzz:x"]),
    ("config", ["//core:clock"]),
    ("transports", ["//config", "//core:buffer"]),
    ("transports/shm", ["//transports", "//transports:registry", "//core:ring"]),
    ("rpc", ["//transports", "//netstack:udp", "@weft//core:loop"]),
    ("host", ["//rpc:server", "//dsm", "//config"]),
    ("cli", ["//host", "//rpc:client"]),
    ("tools/anything", ["//cli"]),
]

# Each dep alone is refused.
_REFUSED = [
    ("core", ["//config", "//transports", "//rpc:client", "//rpc", "@weft//rpc:client", "//cli:weft"]),
    ("config", ["//transports:address"]),
    ("transports/linux", ["//rpc:client", "//host", "//netstack:udp"]),
    ("rpc", ["//router", "//tcp:stack", "//host", "//examples:echo"]),
    ("tcp/service", ["//rpc"]),
    ("host", ["//cli", "//benchmarks:table"]),
    ("cli", ["//examples:echo"]),
]

def _layering_test_impl(ctx):
    wrong = [layering_error(package, "x", deps) for package, deps in _ALLOWED]
    wrong += [
        "//%s:x may depend on %s, which it must not" % (package, dep)
        for package, deps in _REFUSED
        for dep in deps
        if not layering_error(package, "x", [":y", dep])
    ]
    expected = "//core/sub:x may not depend on //rpc:y: core/ may use only itself (docs/architecture.md)"
    message = layering_error("core/sub", "x", ["//rpc:y"])
    if message != expected:
        wrong.append("message: %s" % message)

    wrong = [line for line in wrong if line]
    ctx.actions.write(
        output = ctx.outputs.executable,
        content = "#!/bin/bash\ncat <<'EOF'\n%s\nEOF\nexit %d\n" % ("\n".join(wrong), 1 if wrong else 0),
        is_executable = True,
    )

layering_test = rule(
    implementation = _layering_test_impl,
    test = True,
    doc = "Passes if the tables of this file agree with cc.bzl.",
)
