# SPDX-License-Identifier: Apache-2.0
"""What a browser shows of a running program, over kernel sockets and shared memory.

Screenshots of each test are among its undeclared outputs.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from host.testing import browser as browsers

PROGRAM = "host/testing/busy_program"

LINUX = """
transport { name: "linux" }
rpc { listen: "127.0.0.1:0" }
"""
SHARED_MEMORY = """
transport { name: "shm" }
rpc { listen: "shm:status-page-test" }
host { workers: 2 }
"""

# Lightness of two colours against each other (WCAG 2.2, "contrast ratio").
CONTRAST = """
((front, back) => {
  const lightness = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [lightness(front), lightness(back)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
})
"""


class Program:
    """A program that calls itself, with its HTTP server at `url`."""

    def __init__(self, config: str, *flags: str, metrics: str = "0"):
        self._folder = tempfile.TemporaryDirectory(prefix="weft_page.", dir="/tmp")
        file = pathlib.Path(self._folder.name) / "config"
        file.write_text(f'{config} metrics {{ listen: "{metrics}" }}')
        # Another program may have got the port of one that is started again; not for long.
        for _ in range(100 if metrics != "0" else 1):
            self._process = subprocess.Popen(
                [PROGRAM, "--config", str(file), *flags], stdout=subprocess.PIPE, text=True,
                env={**os.environ, "XDG_RUNTIME_DIR": self._folder.name})
            self.url = self._process.stdout.readline().strip()
            if self.url:
                break
            self._process.wait()
            time.sleep(0.2)
        assert self.url, "the program did not start"
        self.address = self.url.removeprefix("http://")

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


class StatusPageTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.browser = browsers.Browser()
        cls.addClassCleanup(cls.browser.__exit__)

    def setUp(self):
        self.browser.send("Emulation.setEmulatedMedia", features=[])
        self.browser.open("about:blank")
        self.browser.wait("location.href === 'about:blank'")
        self.browser.events.clear()

    def start(self, *arguments, **options) -> Program:
        program = Program(*arguments, **options)
        self.addCleanup(program.end)
        return program

    def show(self, program: Program):
        self.size(1280, 1000)
        self.browser.open(f"{program.url}/")  # leads to /status
        self.browser.wait("document.body?.querySelector('#state')?.textContent === 'running'")

    def size(self, width: int, height: int):
        self.browser.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                          deviceScaleFactor=1, mobile=width < 600)

    def keep_picture(self, name: str):
        folder = os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR")
        if folder:
            self.browser.screenshot(f"{folder}/{name}.png")

    # The text of the cell named `label` in the row that begins with `first`, once it matches.
    def wait_for_cell(self, table: str, first: str, label: str, pattern: str) -> str:
        return self.browser.wait(f"""
            [...document.querySelectorAll('#{table} tbody tr')]
                .filter((tr) => tr.querySelector('th')?.textContent === {first!r})
                .map((tr) => tr.querySelector(`[data-label="{label}"]`).textContent)
                .find((text) => /{pattern}/.test(text))""")

    def wait_for_methods(self):
        self.wait_for_cell("methods", "kv.KeyValue/Get", "calls/s", "^[1-9]")
        self.wait_for_cell("methods", "kv.KeyValue/Get", "p99", "s$")

    def count(self, selector: str) -> int:
        return self.browser.evaluate(f"document.querySelectorAll({selector!r}).length")

    # Nothing went wrong in the page, and it asked nobody else.
    def expect_no_trouble(self, program: Program):
        for event in self.browser.events:
            params = event.get("params", {})
            self.assertNotEqual(event["method"], "Runtime.exceptionThrown", params)
            if event["method"] == "Log.entryAdded":
                self.assertNotIn(params["entry"]["level"], ("error", "warning"), params)
            if event["method"] == "Network.requestWillBeSent":
                self.assertTrue(params["request"]["url"].startswith(program.url), params)

    def expect_all_shown(self, transport: str, workers: str):
        self.wait_for_methods()
        facts = self.browser.evaluate("document.querySelector('#facts').innerText")
        self.assertRegex(facts, rf"transport\s+{transport}\s+workers\s+{workers}\s+up for")
        self.assertEqual(self.browser.evaluate("document.title"), "busy_program – weft")
        # Both sides of four methods.
        self.browser.wait("document.querySelectorAll('#methods tbody tr').length === 8")
        self.wait_for_cell("methods", "kv.KeyValue/Delete", "errors/s", "^[1-9]")
        self.wait_for_cell("methods", "kv.KeyValue/Scan", "p50", "ms$")
        self.browser.wait("document.querySelectorAll('#methods .latencies .bar').length > 8")
        self.browser.wait("/^[1-9]/.test(document.querySelector('#tile-server').textContent)")
        # The client's sessions know the round trip.
        self.browser.wait("""[...document.querySelectorAll('#sessions tbody tr')].some((tr) =>
            tr.querySelector('[data-label=side]').textContent === 'client' &&
            tr.querySelector('[data-label=state]').textContent === 'open' &&
            /s$/.test(tr.querySelector('[data-label="round trip"]').textContent) &&
            /^[1-9]/.test(tr.querySelector('[data-label="requests/s"]').textContent))""")
        self.browser.wait("""[...document.querySelectorAll('#ports tbody tr')].some((tr) =>
            /^[1-9]/.test(tr.querySelector('[data-label="received/s"]').textContent))""")
        self.assertEqual(self.count("#workers tbody tr"), int(workers))
        self.assertEqual(self.count("#net:not([hidden])"), 0)
        # On a busy machine, a worker may not have answered in time.
        self.browser.wait("document.querySelector('#notes').textContent === ''")

    def test_shows_methods_sessions_and_ports_over_kernel_sockets(self):
        program = self.start(LINUX)
        self.show(program)
        self.expect_all_shown("linux", "1")
        self.keep_picture("linux")
        self.expect_no_trouble(program)

    def test_shows_the_routers_that_a_server_has(self):
        program = self.start("""
            transport { name: "linux" }
            rpc { listen: "127.0.0.1:0" router { control: "127.0.0.1:1" join: true } }""")
        self.show(program)
        self.wait_for_cell("links", "127.0.0.1:1", "state", "^joining$")
        self.expect_no_trouble(program)

    def test_shows_all_workers_over_shared_memory(self):
        program = self.start(SHARED_MEMORY)
        self.show(program)
        self.expect_all_shown("shm", "2")
        self.keep_picture("shm")
        self.expect_no_trouble(program)

    def test_names_that_peers_chose_are_text(self):
        program = self.start(LINUX, "--hostile")
        self.show(program)
        self.wait_for_methods()
        self.browser.wait("document.querySelectorAll('#methods tbody tr').length === 16")
        self.browser.evaluate("document.querySelector('#all-counters').open = true")
        self.browser.evaluate("document.querySelectorAll('.opener').forEach((b) => b.click())")
        self.wait_for_cell("methods", "<script>document.title='owned'</script>", "calls/s", "^[1-9]")
        self.browser.wait("document.querySelector('#counters tbody').innerText.includes('<img')")
        self.browser.wait("document.querySelector('#sessions').innerText.includes('<script>')")
        time.sleep(1.5)  # it had its chance
        self.assertEqual(self.browser.evaluate("document.title"), "busy_program – weft")
        self.assertEqual(self.count("main script, img, main b, iframe"), 0)
        text = self.browser.evaluate("document.body.textContent")
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\a", text)
        longest = self.browser.evaluate("""Math.max(...[...document.querySelectorAll('.opener')]
            .map((button) => button.textContent.length))""")
        self.assertLess(longest, 250)
        self.keep_picture("hostile")
        self.expect_no_trouble(program)

    def test_the_policy_lets_nothing_else_run_or_load(self):
        program = self.start(LINUX)
        other = self.start(LINUX)
        self.show(program)
        self.browser.evaluate("""document.body.insertAdjacentHTML('beforeend',
            `<img src="x" onerror="document.title = 'owned'"><script>document.title = 'owned'</script>
             <p id="styled" style="color: rgb(1, 2, 3)">x</p>`)""")
        self.browser.evaluate("""(() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })()""")
        refused = self.browser.evaluate(
            f"fetch('{other.url}/host').then(() => 'answered', () => 'refused')")
        self.assertEqual(refused, "refused")
        self.assertEqual(self.browser.evaluate("document.title"), "busy_program – weft")
        self.assertNotEqual(
            self.browser.evaluate("getComputedStyle(document.querySelector('#styled')).color"),
            "rgb(1, 2, 3)")

    def test_says_when_the_program_is_gone_and_when_it_is_back(self):
        program = self.start(LINUX)
        self.show(program)
        self.wait_for_methods()
        program.signal(signal.SIGKILL)
        self.browser.wait("document.querySelector('#state').textContent === 'gone'")
        alert = self.browser.evaluate("document.querySelector('[role=alert]').textContent")
        self.assertRegex(alert, "The program is gone: nothing has answered at 127.0.0.1:[0-9]+ since")
        self.assertEqual(self.browser.evaluate("document.title"), "gone: busy_program – weft")
        self.assertGreater(self.count("#methods tbody tr"), 0)  # what it last said
        self.keep_picture("gone")
        self.start(LINUX, metrics=program.address)
        self.browser.wait("document.querySelector('#state').textContent === 'running'")
        self.assertEqual(
            self.browser.evaluate("document.querySelector('[role=alert]').textContent"), "")
        self.wait_for_methods()

    def test_says_when_the_program_hangs(self):
        program = self.start(LINUX)
        self.show(program)
        program.signal(signal.SIGSTOP)
        self.browser.wait("document.querySelector('#state').textContent === 'gone'")
        program.signal(signal.SIGCONT)
        self.browser.wait("document.querySelector('#state').textContent === 'running'")

    def test_a_phone_has_room_for_it(self):
        program = self.start(LINUX, "--hostile")
        self.show(program)
        self.wait_for_methods()
        for width in (320, 390, 700):
            self.size(width, 800)
            self.browser.wait(f"innerWidth === {width}")
            needed = self.browser.evaluate("document.documentElement.scrollWidth")
            self.assertLessEqual(needed, width)
        self.size(390, 844)
        self.browser.wait("innerWidth === 390")
        self.keep_picture("phone")

    def test_light_and_dark_can_be_read(self):
        program = self.start(LINUX)
        self.show(program)
        self.wait_for_methods()
        backs = set()
        for scheme in ("light", "dark"):
            self.browser.send("Emulation.setEmulatedMedia",
                              features=[{"name": "prefers-color-scheme", "value": scheme}])
            back = self.browser.wait("getComputedStyle(document.querySelector('#methods')).backgroundColor")
            backs.add(back)
            for selector in ("#methods td", "#methods thead button", "#methods td.bad", "#state"):
                color = self.browser.evaluate(
                    f"getComputedStyle(document.querySelector('{selector}')).color")
                contrast = self.browser.evaluate(f"{CONTRAST}({color!r}, {back!r})")
                self.assertGreater(contrast, 4.5, f"{selector} in {scheme}: {color} on {back}")
            self.keep_picture(scheme)
        self.assertEqual(len(backs), 2)

    def test_keys_do_what_pointers_do(self):
        program = self.start(LINUX)
        self.show(program)
        self.wait_for_methods()
        self.browser.press("Tab")
        focused = "document.activeElement.textContent"
        self.assertEqual(self.browser.evaluate(focused), "Skip to the figures")
        while self.browser.evaluate(focused) != "kv.KeyValue/Get":
            self.browser.press("Tab")
        self.browser.press("Enter")
        self.browser.wait("document.querySelectorAll('.opened .latencies.large .bar').length > 0")
        statuses = self.browser.evaluate("document.querySelector('.opened .statuses').innerText")
        self.assertIn("OK", statuses)
        self.keep_picture("opened")
        time.sleep(2.5)  # the page is drawn anew meanwhile
        self.assertEqual(self.browser.evaluate(focused), "kv.KeyValue/Get")
        self.browser.press("Enter")
        self.assertEqual(self.count(".opened"), 0)
        # Sorts by name.
        self.browser.evaluate("document.querySelector('#methods thead button').focus()")
        self.browser.press("Enter")
        names = self.browser.evaluate(
            "[...document.querySelectorAll('#methods .opener')].map((b) => b.textContent)")
        self.assertEqual(names, sorted(names))
        self.assertEqual(self.count("#methods th[aria-sort=ascending]"), 1)
        # Pauses.
        self.browser.evaluate("document.querySelector('#pause').focus()")
        self.browser.press("Enter")
        before = self.browser.evaluate("document.querySelector('main').innerText")
        time.sleep(2.5)
        self.assertEqual(self.browser.evaluate("document.querySelector('main').innerText"), before)

    def test_a_screen_reader_is_told_what_things_are(self):
        program = self.start(LINUX)
        self.show(program)
        self.wait_for_methods()
        tree = self.browser.send("Accessibility.getFullAXTree")["nodes"]
        seen = {(node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in tree if not node.get("ignored") and "role" in node}
        for wanted in (("heading", "busy_program"), ("heading", "Methods"), ("table", "Methods"),
                       ("heading", "Sessions"), ("table", "Sessions"), ("table", "Ports"),
                       ("button", "Pause"), ("columnheader", "calls/s ↓"),
                       ("link", "Skip to the figures")):
            self.assertIn(wanted, seen)
        pictures = [name for role, name in seen if role == "image"]
        self.assertTrue(any(name.startswith("half of the calls took at most ") for name in pictures))
        self.assertTrue(all(pictures))  # none without words

    def test_a_program_without_rpc_shows_what_there_is(self):
        program = self.start(LINUX, "--no_rpc")
        self.show(program)
        self.wait_for_cell("workers", "0", "rounds/s", "^[0-9]")
        self.browser.wait("document.querySelectorAll('#ports tbody tr').length === 1")
        self.browser.wait("document.querySelector('#notes').textContent === "
                          "'This program shows no RPC server and no client.'")
        for section in ("methods", "sessions", "endpoints", "tiles"):
            self.assertTrue(self.browser.evaluate(f"document.querySelector('#{section}').hidden"))
        self.keep_picture("no_rpc")
        self.expect_no_trouble(program)


if __name__ == "__main__":
    if reason := browsers.missing():
        print(f"SKIPPED: {reason}")
    else:
        unittest.main()
