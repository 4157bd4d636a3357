"""Generated client stubs and server bases of protobuf services.

    load("@weft//rpc:weft_rpc.bzl", "weft_rpc_library")

    proto_library(name = "kv_proto", srcs = ["kv.proto"])
    cc_proto_library(name = "kv_cc_proto", deps = [":kv_proto"])
    weft_rpc_library(name = "kv_rpc", proto = ":kv_proto", deps = [":kv_cc_proto"])

A program that depends on ":kv_rpc" includes the header beside that of the messages: "path/kv.weft.h"
beside "path/kv.pb.h". A server depends on "@weft//rpc/service" too.
"""

load("@rules_cc//cc:defs.bzl", "cc_library")

def _import_path(proto_info, source):
    """By what path other .proto files import `source`."""
    root = proto_info.proto_source_root
    if root != "." and source.path.startswith(root + "/"):
        return source.path[len(root) + 1:]
    return source.short_path[3:].partition("/")[2] if source.short_path.startswith("../") else source.short_path

def _weft_rpc_codegen_impl(ctx):
    proto_info = ctx.attr.proto[ProtoInfo]
    folder = ctx.attr.folder
    headers, sources, paths = [], [], []
    for source in proto_info.direct_sources:
        path = _import_path(proto_info, source)
        base = "%s/%s" % (folder, path[:-len(".proto")])
        headers.append(ctx.actions.declare_file(base + ".weft.h"))
        sources.append(ctx.actions.declare_file(base + ".weft.cc"))
        paths.append(path)
    if not headers:
        fail("%s has no .proto files of its own" % ctx.attr.proto.label)
    out = headers[0].path[:-len(paths[0][:-len(".proto")] + ".weft.h") - 1]

    arguments = ctx.actions.args()
    arguments.add(ctx.executable._plugin, format = "--plugin=protoc-gen-weft=%s")
    arguments.add(out, format = "--weft_out=%s")
    arguments.add_all(proto_info.transitive_proto_path, format_each = "-I%s")
    arguments.add("-I.")
    arguments.add_all(paths)
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [arguments],
        inputs = proto_info.transitive_sources,
        tools = [ctx.executable._plugin],
        outputs = headers + sources,
        mnemonic = "WeftRpc",
        progress_message = "Generating services of %s" % ctx.attr.proto.label,
    )
    return [
        DefaultInfo(files = depset(headers + sources)),
        OutputGroupInfo(headers = depset(headers), sources = depset(sources)),
    ]

_weft_rpc_codegen = rule(
    implementation = _weft_rpc_codegen_impl,
    attrs = {
        "folder": attr.string(mandatory = True, doc = "Where the files go, in the package."),
        "proto": attr.label(mandatory = True, providers = [ProtoInfo]),
        "_plugin": attr.label(
            default = Label("//rpc/codegen:protoc-gen-weft"),
            executable = True,
            cfg = "exec",
        ),
        "_protoc": attr.label(
            default = Label("@com_google_protobuf//:protoc"),
            executable = True,
            cfg = "exec",
        ),
    },
    doc = "Runs protoc-gen-weft over the files of a proto_library.",
)

def weft_rpc_library(name, proto, deps, **kwargs):
    """A C++ library of the stubs and bases of the services in `proto`.

    Args:
      name: name of the library.
      proto: a proto_library; each of its files has a service.
      deps: the cc_proto_library of `proto`.
      **kwargs: as in cc_library: `visibility`, `testonly`, `tags`.
    """
    folder = "_weft_rpc/" + name
    codegen = name + "_codegen"
    testonly = kwargs.get("testonly", False)
    _weft_rpc_codegen(name = codegen, folder = folder, proto = proto, testonly = testonly)
    for group in ["headers", "sources"]:
        native.filegroup(
            name = "%s_%s" % (name, group),
            srcs = [codegen],
            output_group = group,
            testonly = testonly,
        )
    cc_library(
        name = name,
        srcs = [":%s_sources" % name],
        hdrs = [":%s_headers" % name],
        includes = [folder],
        deps = deps + [
            str(Label("//rpc/service:runtime")),
            str(Label("@com_google_absl//absl/status")),
            str(Label("@com_google_absl//absl/types:span")),
        ],
        **kwargs
    )
