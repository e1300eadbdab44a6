"""The framework passes all of jupyter_kernel_test 0.7.0, over tcp and over ipc, nothing skipped."""

import re

import pytest

from jupyter_kernels import (  # noqa: F401 (fixtures)
    echo_kernel,
    echo_program,
    install_kernel,
    jupyter_home,
    run_kernel_suite,
)

SUITE = """
import jupyter_kernel_test as suite
from jupyter_client import KernelManager

TRANSPORT = "{transport}"

# Both classes of the suite build their managers themselves; the default of the trait decides.
KernelManager.transport.default_value = TRANSPORT


class EchoTests(suite.KernelTests):
    kernel_name = "{kernel}"
    language_name = "echo"
    file_extension = ".echo"
    code_hello_world = "print hello, world"
    code_stderr = "eprint to the other stream"
    completion_samples = [
        {{"text": "pri", "matches": {{"print"}}}},
        {{"text": "as", "matches": {{"ask", "ask_secret"}}}},
    ]
    complete_code_samples = ["print 1", ""]
    incomplete_code_samples = ["print 1 \\\\"]
    invalid_code_samples = [") print"]
    code_page_something = "page something long"
    code_generate_error = "fail with this"
    code_execute_result = [
        {{"code": "1 + 2", "result": "1 + 2"}},
        {{"code": "1 + 3", "result": "1 + 3"}},
        {{"code": "1 + 4", "result": "1 + 4"}},
    ]
    code_display_data = [
        {{"code": "display me", "mime": "text/plain"}},
        {{"code": "display me", "mime": "text/html"}},
    ]
    code_history_pattern = "1?+?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "print"
    code_clear_output = "clear"

    def test_transport(self):
        assert self.km.transport == TRANSPORT


class EchoWelcome(suite.IopubWelcomeTests):
    kernel_name = "{kernel}"
    support_iopub_welcome = True


del suite
"""


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_all_of_jupyter_kernel_test_passes(transport, echo_kernel, tmp_path):
    source = SUITE.format(transport=transport, kernel=echo_kernel)
    finished = run_kernel_suite(source, tmp_path)
    report = finished.stdout + finished.stderr
    assert finished.returncode == 0, report
    assert not re.search(r"\b(SKIPPED|FAILED|ERROR)\b", finished.stdout), report
    # The 13 cases of the suite, and ours about the transport.
    assert re.search(r"\b14 passed", finished.stdout), report
