"""Our IOPub publisher against the real libzmq: welcome, floods, and a subscriber that stops reading.

The kernel is the echo example, started by itself, so that its process can be watched.
"""

import json
import subprocess
import uuid
from pathlib import Path

import pytest
import zmq
from jupyter_client.session import Session

from jupyter_kernels import echo_program, free_ports  # noqa: F401 (fixtures)

DEADLINE = 30


class Kernel:
    """A running echo kernel and the means to talk to it with libzmq."""

    def __init__(self, program: Path, directory: Path, transport: str):
        self.transport = transport
        names = ["shell", "control", "stdin", "iopub", "hb"]
        ports = free_ports(5) if transport == "tcp" else [1, 2, 3, 4, 5]
        self.ports = dict(zip(names, ports))
        self.ip = "127.0.0.1" if transport == "tcp" else str(directory / "k")
        self.key = uuid.uuid4().hex
        connection = {f"{name}_port": port for name, port in self.ports.items()} | {
            "transport": transport,
            "ip": self.ip,
            "key": self.key,
            "signature_scheme": "hmac-sha256",
        }
        file = directory / "connection.json"
        file.write_text(json.dumps(connection))
        self.session = Session(key=self.key.encode(), username="test")
        self.sessions = {}
        self.context = zmq.Context()
        self.process = subprocess.Popen([program, "-f", file])

    def url(self, channel: str) -> str:
        separator = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{separator}{self.ports[channel]}"

    def connect(self, channel: str, socket_type: int, **options) -> zmq.Socket:
        connected = self.context.socket(socket_type)
        connected.linger = 0
        for option, value in options.items():
            connected.setsockopt(getattr(zmq, option), value)
        connected.connect(self.url(channel))
        return connected

    def subscriber(self, topic: bytes = b"", **options) -> zmq.Socket:
        subscribed = self.connect("iopub", zmq.SUB, **options)
        subscribed.subscribe(topic)
        return subscribed

    def receive(self, source: zmq.Socket, deadline: float = DEADLINE) -> dict:
        assert source.poll(deadline * 1000), f"nothing came within {deadline} s"
        # One per socket, because a session refuses to see the same message twice.
        session = self.sessions.setdefault(source, Session(key=self.key.encode()))
        identities, message = session.feed_identities(source.recv_multipart())
        return session.deserialize(message) | {"identities": identities}

    def execute(self, shell: zmq.Socket, code: str) -> str:
        content = {"code": code, "silent": False, "store_history": True}
        return self.session.send(shell, "execute_request", content)["header"]["msg_id"]

    def until_idle(self, source: zmq.Socket, msg_id: str) -> list[dict]:
        """All messages of a request, the last being its idle."""
        messages = []
        while True:
            message = self.receive(source)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            messages.append(message)
            if message["content"].get("execution_state") == "idle":
                return messages

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def close(self):
        self.context.destroy(linger=0)
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["tcp", "ipc"])
def kernel(request, echo_program, tmp_path):
    running = Kernel(echo_program, tmp_path, request.param)
    yield running
    running.close()


def test_every_subscriber_is_welcomed_first_and_the_start_is_told_once(kernel):
    first = kernel.subscriber()
    welcome = kernel.receive(first)
    assert welcome["msg_type"] == "iopub_welcome"
    assert welcome["content"] == {"subscription": ""}
    assert welcome["parent_header"] == {}
    starting = kernel.receive(first)
    assert starting["content"] == {"execution_state": "starting"}

    second = kernel.subscriber()
    assert kernel.receive(second)["msg_type"] == "iopub_welcome"
    assert second.poll(300) == 0, "the start is told to the first subscriber only"


def test_a_topic_selects_messages(kernel):
    statuses = kernel.subscriber(b"kernel.")
    welcome = kernel.receive(statuses)
    assert welcome["content"] == {"subscription": "kernel."}
    assert welcome["identities"] == [b"kernel."]
    nothing = kernel.subscriber(b"no such topic")
    assert kernel.receive(nothing)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    kernel.until_idle(statuses, kernel.execute(shell, "print 1"))
    assert nothing.poll(300) == 0


def test_the_heartbeat_echoes_exactly(kernel):
    heartbeat = kernel.connect("hb", zmq.REQ)
    for beat in [b"ping", b"", bytes(range(256)) * 300]:
        heartbeat.send(beat)
        assert heartbeat.poll(DEADLINE * 1000)
        assert heartbeat.recv() == beat


def test_pings_of_the_peer_are_answered(kernel):
    # libzmq closes and reconnects when its pings are not answered; then it is welcomed again.
    options = {"HEARTBEAT_IVL": 100, "HEARTBEAT_TIMEOUT": 300, "HEARTBEAT_TTL": 1000}
    patient = kernel.subscriber(**options)
    assert kernel.receive(patient)["msg_type"] == "iopub_welcome"
    assert kernel.receive(patient)["msg_type"] == "status"
    assert patient.poll(1500) == 0, "the connection was lost"


def test_a_flood_is_paced_and_keeps_its_start_and_end(kernel):
    listener = kernel.subscriber()
    assert kernel.receive(listener)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    messages = kernel.until_idle(listener, kernel.execute(shell, "flood 1000000"))
    streams = [message for message in messages if message["msg_type"] == "stream"]
    text = "".join(message["content"]["text"] for message in streams)
    assert text.startswith("line 0 of a flood of output\nline 1 of")
    assert text.endswith("line 999999 of a flood of output\n")
    assert "bytes dropped" in text
    # By the kernel's clock, because arrivals jitter on a loaded machine.
    sent = [(message["header"]["date"].timestamp(), message["content"]["text"]) for message in streams]
    for start, _ in sent:
        second = [text for at, text in sent if start <= at < start + 1]
        assert len(second) <= 20, "more than 20 stream messages in a second"
        written = sum(len(json.dumps(text, ensure_ascii=False)) for text in second)
        assert written <= 900_000, "more than 900 KB of stream in a second"


def test_a_subscriber_that_stops_reading_harms_nobody(kernel):
    reader = kernel.subscriber(RCVHWM=0)
    assert kernel.receive(reader)["msg_type"] == "iopub_welcome"
    stalled = kernel.subscriber(RCVHWM=1, RCVBUF=65536)
    assert kernel.receive(stalled)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    before = kernel.resident_bytes()
    for _ in range(3):
        messages = kernel.until_idle(reader, kernel.execute(shell, "flood 300000"))
        kinds = {message["msg_type"] for message in messages}
        assert {"status", "execute_input", "stream"} <= kinds
    grown = kernel.resident_bytes() - before
    assert grown <= 64 << 20, f"the kernel grew by {grown >> 20} MiB"
    last = messages[-1]["parent_header"]["msg_id"]
    # It reads again, and everything that it was owed is there.
    assert kernel.until_idle(stalled, last)[-1]["content"]["execution_state"] == "idle"


def displays(messages: list[dict]) -> int:
    return sum(message["msg_type"] == "display_data" for message in messages)


def text_of(messages: list[dict]) -> str:
    streams = [message for message in messages if message["msg_type"] == "stream"]
    return "".join(message["content"]["text"] for message in streams)


def test_a_subscriber_that_stops_reading_loses_text_and_is_told(kernel):
    reader = kernel.subscriber(RCVHWM=0)
    assert kernel.receive(reader)["msg_type"] == "iopub_welcome"
    stalled = kernel.subscriber(RCVHWM=1, RCVBUF=65536)
    assert kernel.receive(stalled)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    # More than the 32 MB after which text is dropped, less than the 64 MB that disconnect.
    first = kernel.execute(shell, "displays 50 1000000")
    assert displays(kernel.until_idle(reader, first)) == 50
    second = kernel.execute(shell, "flood 1000\nclear")
    read = text_of(kernel.until_idle(reader, second))
    assert displays(kernel.until_idle(stalled, first)) == 50, "everything but text is owed"
    late = text_of(kernel.until_idle(stalled, second))
    assert "line 999 of a flood" in read and "bytes dropped" not in read
    assert "line 999 of a flood" not in late and "bytes dropped" in late


def test_a_subscriber_that_lets_too_much_pile_up_is_disconnected(kernel):
    reader = kernel.subscriber(RCVHWM=0)
    assert kernel.receive(reader)["msg_type"] == "iopub_welcome"
    stalled = kernel.subscriber(RCVHWM=1, RCVBUF=65536)
    assert kernel.receive(stalled)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    for _ in range(2):
        messages = kernel.until_idle(reader, kernel.execute(shell, "displays 40 1000000"))
        assert displays(messages) == 40, "who reads gets everything"
    # libzmq comes back by itself, and is welcomed anew: it knows that it missed something.
    late = []
    while "iopub_welcome" not in [message["msg_type"] for message in late]:
        late.append(kernel.receive(stalled))
    assert displays(late) < 80
    kernel.until_idle(stalled, kernel.execute(shell, "print still here"))


def test_a_display_larger_than_any_queue_disconnects_nobody(kernel):
    listener = kernel.subscriber()
    assert kernel.receive(listener)["msg_type"] == "iopub_welcome"
    shell = kernel.connect("shell", zmq.DEALER)
    messages = kernel.until_idle(listener, kernel.execute(shell, "displays 1 96000000"))
    [shown] = [message for message in messages if message["msg_type"] == "display_data"]
    assert "a display may have 10.0 MB" in shown["content"]["data"]["text/plain"]


def test_a_garbage_connection_harms_nobody(kernel):
    listener = kernel.subscriber()
    assert kernel.receive(listener)["msg_type"] == "iopub_welcome"
    for channel in ["shell", "control", "iopub", "stdin", "hb"]:
        stream = kernel.connect(channel, zmq.STREAM)
        identity = stream.recv()
        stream.recv()
        stream.send_multipart([identity, b"GET / HTTP/1.1\r\nHost: kernel\r\n\r\n" + b"\xff" * 64])
    shell = kernel.connect("shell", zmq.DEALER)
    shell.send_multipart([b"no delimiter"])
    shell.send_multipart([b"<IDS|MSG>", b"short"])
    shell.send_multipart([b"<IDS|MSG>", b"0" * 64, b"{}", b"{}", b"{}", b"{}"])
    kernel.until_idle(listener, kernel.execute(shell, "print still here"))

def test_a_kernel_that_nobody_listens_to_answers_all_the_same(kernel):
    shell = kernel.connect("shell", zmq.DEALER)
    request = kernel.execute(shell, "print unheard")
    reply = kernel.receive(shell)
    assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (request, "ok")
    late = kernel.subscriber()
    assert kernel.receive(late)["msg_type"] == "iopub_welcome"
    kernel.until_idle(late, kernel.execute(shell, "print heard"))
