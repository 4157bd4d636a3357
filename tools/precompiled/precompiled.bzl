"""Headers of other projects, compiled once instead of in each source that includes them (docs/adr/0030)."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _precompiled_headers_impl(ctx):
    lines = ["#include <%s>" % header for header in ctx.attr.headers]
    folder = "_precompiled/" + ctx.label.name
    header = ctx.actions.declare_file("%s/weft_%s.h" % (folder, ctx.label.name))
    ctx.actions.write(header, "#pragma once\n" + "\n".join(lines) + "\n")

    # Compiled as any other source, and so with the same flags, without which GCC refuses the result.
    source = ctx.actions.declare_file("%s/weft_%s.cc" % (folder, ctx.label.name))
    ctx.actions.write(source, "\n".join(lines) + "\n")
    toolchain = find_cpp_toolchain(ctx)
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    _, outputs = cc_common.compile(
        name = ctx.label.name,
        actions = ctx.actions,
        cc_toolchain = toolchain,
        compilation_contexts = contexts,
        feature_configuration = cc_common.configure_features(
            ctx = ctx,
            cc_toolchain = toolchain,
            requested_features = ctx.features,
            unsupported_features = ctx.disabled_features,
        ),
        srcs = [source],
        user_compile_flags = ["-x", "c++-header"],
    )
    compiled = ctx.actions.declare_file(header.basename + ".gch", sibling = header)
    ctx.actions.symlink(output = compiled, target_file = (outputs.pic_objects or outputs.objects)[0])

    # The macros of the deps come along: GCC wants those of the command line to be the same.
    context = cc_common.create_compilation_context(
        headers = depset([header, compiled]),
        quote_includes = depset([header.dirname]),
    )
    return cc_common.merge_cc_infos(
        cc_infos = [CcInfo(compilation_context = c) for c in [context] + contexts],
    )

precompiled_headers = rule(
    implementation = _precompiled_headers_impl,
    attrs = {
        "headers": attr.string_list(mandatory = True, doc = "Headers, as they are included."),
        "deps": attr.label_list(mandatory = True, providers = [CcInfo], doc = "Whose headers they are."),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    doc = """Headers that a source takes in by `-include weft_<name>.h` and a dep on this target.

    Where a source is compiled by other flags, or by a compiler that knows no .gch files, the headers
    are compiled with it as any others are.""",
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
