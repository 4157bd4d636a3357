#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes one HTML file of a page, its style sheet and its scripts, and C++ source of that.

Usage: embed.py page.html style.css script.js... > embedded_page.cc

The scripts become one, in the order given. The page says where: the elements <style></style> and
<script></script>, which are empty in it. Both are named by hash in the Content-Security-Policy
(https://www.w3.org/TR/CSP3/), so that a browser runs nothing else.
"""

import base64
import hashlib
import pathlib
import sys


def fill(page: str, element: str, content: str) -> str:
    empty = f"<{element}></{element}>"
    assert page.count(empty) == 1, f"the page must have {empty} once"
    assert f"</{element}" not in content, f"{element} ends itself"
    return page.replace(empty, f"<{element}>{content}</{element}>")


def source_of(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def c_lines(text: str) -> str:
    """String literals, a line of the text each; octal escapes cannot run on into what follows."""
    lines = []
    for line in text.encode().splitlines(keepends=True):
        plain = "".join(
            chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
            for byte in line)
        lines.append(f'    "{plain}"')
    return "\n".join(lines)


def main() -> None:
    page, style, *scripts = [pathlib.Path(name).read_text() for name in sys.argv[1:]]
    style = "\n" + style
    script = '\n"use strict";\n' + "\n".join(scripts)
    page = fill(fill(page, "style", style), "script", script)
    policy = "; ".join([
        "default-src 'none'",
        f"script-src {source_of(script)}",
        f"style-src {source_of(style)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])
    print(f'''#include "weft/host/status_page/embedded_page.h"

namespace weft {{

const char kStatusPageHtml[] =
{c_lines(page)};
const size_t kStatusPageHtmlBytes = sizeof(kStatusPageHtml) - 1;
const char kStatusPagePolicy[] = "{policy}";

}}  // namespace weft''')


main()
