"""The kernel passes all of jupyter_kernel_test 0.7.0, over tcp and over ipc, nothing skipped."""

import re

import pytest

from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_kernels import install_kernel, jupyter_home, run_kernel_suite  # noqa: F401

SUITE = """
import jupyter_kernel_test as suite
from jupyter_client import KernelManager

TRANSPORT = "{transport}"

# Both classes of the suite build their managers themselves; the default of the trait decides.
KernelManager.transport.default_value = TRANSPORT


class KernelTests(suite.KernelTests):
    kernel_name = "{kernel}"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = "%%sql --format csv\\nSELECT 'hello, world' AS greeting"
    code_stderr = 'eprintln!("to the other stream");'
    completion_samples = [
        {{"text": "%%sql\\nSELECT coun"}},
        {{"text": "%expl"}},
    ]
    complete_code_samples = ["%%sql\\nSELECT 1;", "%engines", "1 + 1", "fn f() {{}}"]
    incomplete_code_samples = ["%%sql\\nSELECT (1", "fn f() {{", "let x ="]
    invalid_code_samples = ["%nosuchmagic", "fn f() {{}} }}"]
    code_page_something = "%%sql?"
    code_generate_error = "%%sql\\nSELECT * FROM nowhere"
    code_execute_result = [
        {{"code": "%%sql\\nSELECT 1 AS one", "mime": "text/plain"}},
        {{"code": "%%sql\\nSELECT 2 AS two", "mime": "text/html"}},
        {{"code": "%%sql\\nSELECT 3 AS three", "mime": "text/plain"}},
    ]
    code_display_data = [
        {{"code": "%engines", "mime": "text/plain"}},
        {{"code": "%engines", "mime": "text/html"}},
    ]
    code_history_pattern = "*SELECT 1 AS*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "%%sql"
    code_clear_output = "%clear"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The first SQL cell starts the cluster, the first Rust cell of a home compiles its crate.
        for code in ("%%sql\\nSELECT 1", "1 + 1"):
            reply = cls.kc.execute_interactive(code, timeout=300, output_hook=lambda message: None)
            assert reply["content"]["status"] == "ok", reply

    def test_transport(self):
        assert self.km.transport == TRANSPORT


class Welcome(suite.IopubWelcomeTests):
    kernel_name = "{kernel}"
    support_iopub_welcome = True


del suite
"""


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_all_of_jupyter_kernel_test_passes(transport, bireme_kernel, tmp_path):
    source = SUITE.format(transport=transport, kernel=bireme_kernel)
    finished = run_kernel_suite(source, tmp_path)
    report = finished.stdout + finished.stderr
    assert finished.returncode == 0, report
    assert not re.search(r"\b(SKIPPED|FAILED|ERROR)\b", finished.stdout), report
    # The 13 cases of the suite, and ours about the transport.
    assert re.search(r"\b14 passed", finished.stdout), report
