"""What processes of a stack cost: CPU time and memory by process, from /proc and PostgreSQL's own views."""
import contextlib
import os
import re
import subprocess

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STAT_PARENT, STAT_USER, STAT_SYSTEM, STAT_CHILD_USER, STAT_CHILD_SYSTEM = 1, 11, 12, 13, 14  # after the name's ')'


def read(path):
    with contextlib.suppress(OSError), open(path) as file:
        return file.read()
    return ""


def stat_fields(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def children(parent):
    pids = []
    for name in os.listdir("/proc"):
        fields = stat_fields(name) if name.isdigit() else []
        if fields and int(fields[STAT_PARENT]) == parent:
            pids.append(int(name))
    return pids


def cpu_us(pid):
    """CPU time of a process. schedstat counts nanoseconds but forgets threads that have ended; stat remembers them, in ticks."""
    threads = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            threads += int((read(f"/proc/{pid}/task/{task}/schedstat").split() or ["0"])[0])
    fields = stat_fields(pid)
    ticks = int(fields[STAT_USER]) + int(fields[STAT_SYSTEM]) if fields else 0
    return max(threads / 1000, ticks * 1e6 / TICKS_PER_SECOND)


def threads_us(pid, mark):
    """CPU time of those threads of a process whose name holds `mark`."""
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            if mark in read(f"/proc/{pid}/task/{task}/comm"):
                total += int((read(f"/proc/{pid}/task/{task}/schedstat").split() or ["0"])[0])
    return total / 1000


APART = {"compiler": "CompilerThre", "librdkafka": "rdk:"}  # what a process's threads are counted apart as, and their names


class Machine:
    """The processes of one stack. PostgreSQL's are told apart by what they serve."""

    def __init__(self, stack):
        self.stack = stack

    def roots(self):
        folder = self.stack.env["MILLRACE_PID_DIR"]
        pids = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".pid") and name != "supervisor.pid":
                pids[name.removesuffix(".pid")] = int(read(os.path.join(folder, name)))
        return pids

    def backend_names(self):
        """pid → what the backend serves. Asking starts a backend, so it is done outside of what is measured."""
        rows = self.stack.sql("SELECT pid || ' ' || coalesce(nullif(application_name, ''), backend_type) FROM pg_stat_activity"
                              " WHERE pid <> pg_backend_pid()")
        return {int(pid): name.removeprefix("millrace-") for pid, _, name in (row.partition(" ") for row in rows.splitlines())}

    def cpu(self, backends):
        """Microseconds so far, by process. Backends that have ended are in 'postgres: ended', with their whole life."""
        usage = {}
        for name, pid in self.roots().items():
            usage[name] = cpu_us(pid)
            for part, mark in APART.items():
                if apart := threads_us(pid, mark):
                    usage[f"{name}: {part}"] = apart
                    usage[name] -= apart
            if name == "postgres":
                for child in children(pid):
                    label = "postgres: " + backends.get(child, "other")
                    usage[label] = usage.get(label, 0) + cpu_us(child)
                fields = stat_fields(pid)
                ended = int(fields[STAT_CHILD_USER]) + int(fields[STAT_CHILD_SYSTEM])
                usage["postgres: ended"] = ended * 1e6 / TICKS_PER_SECOND
        return usage

    def memory(self):
        """Proportional set size by process in bytes; where it may not be read, what is resident but not shared memory."""
        usage = {}
        for name, pid in self.roots().items():
            pids = [pid] + (children(pid) if name == "postgres" else [])
            usage[name] = sum(proportional_bytes(p) for p in pids)
        return usage


def proportional_bytes(pid):
    found = re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
    if found:
        return int(found[1]) << 10
    status = read(f"/proc/{pid}/status")
    return sum(int(kib) << 10 for kib in re.findall(r"^(?:RssAnon|RssFile):\s+(\d+)", status, re.M))


def resident_bytes(pid):
    return int((read(f"/proc/{pid}/statm").split() or [0, 0])[1]) * PAGE


def kernel_bytes():
    """What the kernel holds for sockets and the like: slab, and the pages that TCP has queued data in."""
    slab = int(re.search(r"^Slab:\s+(\d+)", read("/proc/meminfo"), re.M)[1]) << 10
    queued = int(re.search(r"^TCP:.* mem (\d+)", read("/proc/net/sockstat"), re.M)[1]) * PAGE
    return slab + queued


class CpuSpan:
    """CPU by process between start() and stop()."""

    def __init__(self, machine):
        self.machine = machine
        self.names = machine.backend_names()
        self.before = machine.cpu(self.names)

    def stop(self):
        """Microseconds by process, the costliest first."""
        after = self.machine.cpu(self.names)
        spent = {name: after.get(name, 0) - self.before.get(name, 0) for name in {**self.before, **after}}
        for name in [name for name, value in spent.items() if value < 0]:  # one that ended takes its past along
            spent["postgres: ended"] += spent.pop(name)
        return dict(sorted(spent.items(), key=lambda item: -item[1]))


def pinned(core, *command):
    return ["taskset", "-c", str(core), *command] if os.cpu_count() > 1 else list(command)


def output(command, **more):
    done = subprocess.run(command, text=True, capture_output=True, timeout=300, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
