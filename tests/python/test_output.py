"""Output of Rust cells as front ends get it: order, updates, any bytes, at once, and without end."""

import json
import pathlib
import time

import pytest
import zmq
from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_client.manager import start_new_kernel
from jupyter_kernels import install_kernel, jupyter_home  # noqa: F401

CELL_SECONDS = 300
LINES = 1_000_000
# What JupyterLab's server lets through with some to spare: beyond it drops messages, results among them.
MESSAGES_PER_SECOND = 20
BYTES_PER_SECOND = 900_000
GROWTH_BYTES = 64 << 20
# From `print!` to the front end; what a busy machine adds is the rest.
SHOWN_SECONDS = 0.1 + 0.2


@pytest.fixture
def client(bireme_kernel):
    manager, client = start_new_kernel(kernel_name=bireme_kernel, startup_timeout=CELL_SECONDS)
    client.manager = manager
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    """The reply to a cell and its messages, with when each came."""
    messages = []

    def keep(message):
        messages.append(message | {"came": time.time()})

    reply = client.execute_interactive(code, timeout=CELL_SECONDS, output_hook=keep, allow_stdin=False)
    return reply["content"], messages


def texts(messages):
    return "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream")


def values(messages):
    results = (message for message in messages if message["msg_type"] == "execute_result")
    return [message["content"]["data"]["text/plain"] for message in results]


def outline(messages):
    """What came, in order: kinds with their text."""
    found = []
    for message in messages:
        content = message["content"]
        if message["msg_type"] == "stream":
            found.append((content["name"], content["text"]))
        elif "data" in content:
            found.append((message["msg_type"], content["data"]["text/plain"], content["transient"].get("display_id")))
    return found


def test_displays_come_in_order_with_the_text_around_them_and_are_updated(client):
    code = """
    println!("one");
    Shown::new().with("text/plain", "half").with("text/html", "<b>half</b>").under("bar").send();
    eprintln!("two");
    Table::new([Column::new("n", vec![1])])?.display();
    println!("three");
    Shown::new().with("text/plain", "whole").with("text/html", "<b>whole</b>").replacing("bar").send();
    print!("four");
    5"""
    reply, messages = run(client, code)
    assert reply["status"] == "ok", reply
    found = outline(message for message in messages if message["msg_type"] != "status")
    # A line about what is waited for comes and changes by itself.
    found = [one for one in found if len(one) == 2 or one[2] in (None, "bar")]
    found = found[found.index(("stdout", "one\n")) :]
    # The other stream has a pipe of its own, and no place among the rest.
    found.remove(("stderr", "two\n"))
    assert found[1] == ("display_data", "half", "bar")
    assert found[2][0] == "display_data" and "shape: (1, 1)" in found[2][1]
    assert found[3:] == [
        ("stdout", "three\n"),
        ("update_display_data", "whole", "bar"),
        ("stdout", "four"),
        ("execute_result", "5", None),
    ]


def test_text_without_a_line_end_is_shown_at_once(client):
    run(client, "1 + 1")
    code = """
    use std::io::Write;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        print!("<{}>", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
    }
    std::thread::sleep(Duration::from_millis(400));"""
    _, messages = run(client, code)
    streams = [message for message in messages if message["msg_type"] == "stream"]
    assert len(streams) == 3, outline(messages)
    for message in streams:
        took = message["came"] - float(message["content"]["text"].strip("<>"))
        assert took < SHOWN_SECONDS, f"{took:.3f} s"


def test_any_bytes_are_shown(client):
    code = r"""
    use std::io::Write;
    std::io::stdout().write_all(b"a\rb\x1b[31m\x08\xff\xfe\xc3")?;
    std::io::stdout().flush()?;
    std::io::stdout().write_all(b"\xa9 done EVCXR_EXECUTION_COMPLETE")?;"""
    reply, messages = run(client, code)
    assert reply["status"] == "ok", reply
    # Halves of a character that come apart are one.
    assert texts(messages) == "a\rb\x1b[31m\x08\ufffd\ufffd\u00e9 done EVCXR_EXECUTION_COMPLETE"
    assert values(run(client, "6 * 7")[1]) == ["42"]


def test_a_million_lines_are_paced_and_cost_little_with_a_client_that_does_not_read(client):
    run(client, "1 + 1")
    connection = client.get_connection_info()
    context = zmq.Context()
    stalled = context.socket(zmq.SUB)
    stalled.linger = 0
    stalled.setsockopt(zmq.RCVHWM, 1)
    stalled.setsockopt(zmq.RCVBUF, 65536)
    stalled.subscribe(b"")
    stalled.connect(f"tcp://{connection['ip']}:{connection['iopub_port']}")
    assert stalled.poll(CELL_SECONDS * 1000), "it is welcomed"
    kernel = client.manager.provisioner.pid
    before = resident(kernel)
    reply, messages = run(client, f'for line in 0..{LINES} {{ println!("line {{line}} of many that nobody reads"); }} "end"')
    grown = resident(kernel) - before
    assert reply["status"] == "ok", reply
    text = texts(messages)
    assert "line 0 of many" in text and text.endswith(f"line {LINES - 1} of many that nobody reads\n")
    assert messages[-1]["content"] == {"execution_state": "idle"}
    assert values(messages) == ['"end"']
    assert grown <= GROWTH_BYTES, f"the kernel grew by {grown >> 20} MiB"
    assert_paced([message for message in messages if message["msg_type"] == "stream"])
    context.destroy(linger=0)


def assert_paced(streams):
    # By the kernel's clock, because arrivals jitter on a loaded machine.
    sent = [(message["header"]["date"].timestamp(), message["content"]["text"]) for message in streams]
    for start, _ in sent:
        second = [text for at, text in sent if start <= at < start + 1]
        assert len(second) <= MESSAGES_PER_SECOND, f"{len(second)} stream messages in a second"
        written = sum(len(json.dumps(text, ensure_ascii=False)) for text in second)
        assert written <= BYTES_PER_SECOND, f"{written} bytes of stream in a second"


def resident(process):
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024

def test_a_thread_that_outlives_its_cell_prints_below_it(client):
    sleep = "std::thread::sleep(std::time::Duration::from_secs(1))"
    reply, messages = run(client, f'std::thread::spawn(|| {{ {sleep}; println!("late"); }});')
    assert reply["status"] == "ok", reply
    late = client.get_iopub_msg(timeout=CELL_SECONDS)
    assert late["content"] == {"name": "stdout", "text": "late\n"}, late
    assert late["parent_header"]["msg_id"] == messages[-1]["parent_header"]["msg_id"]


def test_both_streams_keep_their_order_where_each_is_flushed(client):
    lines = "".join(f'println!("out {n}"); eprintln!("err {n}"); pause();\n' for n in range(3))
    # Each has a pipe of its own: what is written 50 ms apart is told apart.
    pause = "fn pause() { std::thread::sleep(std::time::Duration::from_millis(50)) }\n"
    _, messages = run(client, pause + lines)
    said = "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream")
    order = [line.split()[1] for line in said.splitlines()]
    assert order == ["0", "0", "1", "1", "2", "2"], said
    last = [message["msg_type"] for message in messages][-1]
    assert last == "status", messages
