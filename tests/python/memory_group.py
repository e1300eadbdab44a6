"""A memory cgroup of a test's own, where one can be made: beyond its limit the system ends processes."""

import os
import pathlib

ROOT = pathlib.Path("/sys/fs/cgroup")
# Where the two versions have it: the directory, the limit, the most that was used, and where kills are counted.
VERSIONS = [
    (ROOT, "memory.max", "memory.peak", "memory.events"),
    (ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
]


class MemoryGroup:
    """Counts what its processes hold, shared memory and the page cache too; the cache gives way."""

    def __init__(self, path, peak, kills):
        self.path, self._peak, self._kills = path, path / peak, path / kills

    @classmethod
    def make(cls, limit):
        """A group that may hold so many bytes; none where this user, or this system, can have none."""
        for root, limit_name, peak, kills in VERSIONS:
            path = root / f"bireme-test-{os.getpid()}"
            try:
                path.mkdir()
            except OSError:
                continue
            # The system makes the files, if this is a group and memory is counted in it.
            if (path / limit_name).exists():
                (path / limit_name).write_text(str(limit))
                return cls(path, peak, kills)
            path.rmdir()
        return None

    def enter(self):
        """Puts the calling process into it, and what that will start."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        """The most bytes it held, with the page cache."""
        return int(self._peak.read_text())

    def kills(self):
        """Processes that were ended because they held too much."""
        counts = dict(line.split() for line in self._kills.read_text().splitlines())
        return int(counts["oom_kill"])

    def close(self):
        """Its processes have ended."""
        self.path.rmdir()
