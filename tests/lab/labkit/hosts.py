"""Boot, enter, stop and clear away the hosts of a lab.

Nothing is remembered that the kernel knows: processes are found by their command line, mounts in /proc/mounts,
so that `down` also clears what a crash or ctrl-C has left.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import configure, image
from .plan import MASTER
from .shell import LabError, run, say

BRIDGE = "lab0"


def up(lab, timeout=120):
    """Bring every host up that is not; return when all of them answer."""
    base = image.build()
    lab.save()
    _network(lab)
    for host in lab.hosts():
        if not leader(lab, host):
            _mount(lab, host, base)
            configure.host(lab, host)
    configure.shared_directory(lab)
    for host in lab.hosts():
        if not leader(lab, host):
            boot(lab, host)
    _until(lambda: all(_booted(lab, host) for host in lab.hosts()), timeout, "the hosts to boot")


def _network(lab):
    if not Path("/run/netns", lab.namespace).exists():
        run(["ip", "netns", "add", lab.namespace])
    inside = ["ip", "-n", lab.namespace]
    if run([*inside, "link", "show", BRIDGE], check=False).returncode:
        run([*inside, "link", "add", BRIDGE, "type", "bridge"])
        run([*inside, "addr", "add", configure.network_address(), "dev", BRIDGE])
        run([*inside, "link", "set", BRIDGE, "up"])
        run([*inside, "link", "set", "lo", "up"])


def _mount(lab, host, base):
    root = lab.root(host)
    if os.path.ismount(root):
        return
    if host in lab.disks:
        # A disk of its own, so that it can be filled.
        root.parent.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", f"size={lab.disks[host]}M", f"lab-{host}", root.parent])
    upper, work = root.parent / "upper", root.parent / "work"
    for folder in (root, upper, work):
        folder.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", root])


def boot(lab, host):
    """Start one host whose root is mounted."""
    binds = [f"--bind={lab.shared}:/var/lib/tungsten-emulator"]
    if host == MASTER:
        binds = [f"--bind-ro={lab.repository}:/srv/reprovision"]
    log = (lab.home / "hosts" / host / "console.log").open("ab")
    # nsenter and not `ip netns exec`: the latter hides /sys/fs/cgroup, and nspawn refuses.
    subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{lab.namespace}", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
         f"--directory={lab.root(host)}", f"--machine={lab.name}-{host}", f"--hostname={host}",
         f"--network-bridge={BRIDGE}", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
         "--console=pipe", *binds, "--boot"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        preexec_fn=lambda: _enter_control_group(lab, host),
    )


def _control_group_roots():
    """The hierarchies that systemd uses: cgroup2, and on older layouts its own named one."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            yield Path(where)


def control_groups(lab, host):
    """Where the kernel counts what a host's processes use, and systemd lays out its units."""
    return [root / f"reprovision-{lab.name}-{host}" for root in _control_group_roots()]


def _enter_control_group(lab, host):
    """Without one of its own, the systemd of every host would manage the same group."""
    for group in control_groups(lab, host):
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _supervisors(lab, host=None):
    """Process ids of the lab's systemd-nspawn, by the directory on their command line."""
    wanted = f"--directory={lab.root(host)}" if host else f"--directory={lab.home}/"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "systemd-nspawn" in words[:1] and any(
                    word == wanted if host else word.startswith(wanted) for word in words):
                found.append(int(entry.name))
    return found


def leader(lab, host):
    """The host's init as seen from outside, or None."""
    for supervisor in _supervisors(lab, host):
        try:
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        except OSError:
            continue
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() in ("systemd", "init"):
                return int(child)
    return None


def _booted(lab, host):
    pid = leader(lab, host)
    if not pid:
        return False
    state = execute(lab, host, ["systemctl", "is-system-running"], capture=True)
    return state.stdout.strip() in ("running", "degraded")


def command(lab, host, argv):
    """The argv that runs ``argv`` inside a host."""
    pid = leader(lab, host)
    if not pid:
        raise LabError(f"{host} is not running")
    return [
        "nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/root", "--",
        "env", "-i", "PATH=/opt/salt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root", "USER=root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}", *map(str, argv),
    ]


def execute(lab, host, argv, capture=False, timeout=None, stdin=None):
    """Run a command inside a host; with ``capture`` its output comes back as text."""
    inside = command(lab, host, argv)
    if capture:
        return subprocess.run(inside, text=True, input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    return subprocess.run(inside, timeout=timeout)


def status(lab):
    """What runs: a row a host."""
    rows = {}
    for host in lab.hosts():
        pid = leader(lab, host)
        rows[host] = {"pid": pid, "address": lab.address(host), "site": lab.site_of(host), "units": {}}
        if pid:
            units = ["salt-master"] if host == MASTER else ["mariadb", "ssh", "salt-minion", "tungsten-manager"]
            states = execute(lab, host, ["systemctl", "is-active", *units], capture=True).stdout.split()
            rows[host]["units"] = dict(zip(units, states))
    return rows


def power_off(lab, host, timeout=30):
    """Shut one host down cleanly; its root stays."""
    pid = leader(lab, host)
    if pid:
        os.kill(pid, signal.SIGRTMIN + 4)
        _until(lambda: not _supervisors(lab, host), timeout, f"{host} to power off")


def power_cut(lab, host, timeout=30):
    """Stop one host as a power cut does: nothing of it gets to say goodbye; its root stays."""
    pid = leader(lab, host)
    if pid:
        _kill(pid)
    _until(lambda: not _supervisors(lab, host), timeout, f"{host} to be gone", quiet=True)
    for group in control_groups(lab, host):
        _until(lambda group=group: not group.exists() or _removed(group), timeout, f"{host}'s processes to be gone",
               quiet=True)


def await_boot(lab, host, timeout=120):
    _until(lambda: _booted(lab, host), timeout, f"{host} to boot", quiet=True)


def disk(lab, host):
    """Where the disk of a host with a limited one can be written to from outside."""
    return lab.root(host).parent


def down(lab):
    """Take the lab away without a trace: processes, mounts, namespace, files. Safe to repeat."""
    for host in lab.hosts():
        pid = leader(lab, host)
        if pid:
            # Its data goes with it, so there is nothing to shut down cleanly.
            _kill(pid)
    for supervisor in _supervisors(lab):
        _kill(supervisor)
    _until(lambda: not _supervisors(lab), 30, "the hosts to end")
    _remove_control_groups(lab)
    for mount in _mounts(lab):
        run(["umount", "--lazy", mount])
    if Path("/run/netns", lab.namespace).exists():
        run(["ip", "netns", "delete", lab.namespace])
    shutil.rmtree(lab.home, ignore_errors=True)
    if lab.home.exists():
        raise LabError(f"{lab.home} could not be removed")


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _mounts(lab):
    lines = Path("/proc/mounts").read_text().splitlines()
    inside = [line.split()[1] for line in lines if line.split()[1].startswith(f"{lab.home}/")]
    return sorted(inside, key=len, reverse=True)


def _remove_control_groups(lab):
    """End what is left in the hosts' control groups, which is all of a host whose nspawn was killed; remove them."""
    groups = [group for host in lab.hosts() for group in control_groups(lab, host)]
    _until(lambda: all([_removed(group) for group in groups]), 30, "the hosts' processes to be gone")


def _removed(group):
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            for pid in Path(folder, "cgroup.procs").read_text().split():
                _kill(int(pid))
            os.rmdir(folder)
        except OSError:
            return False
    return True


def _until(condition, timeout, what, quiet=False):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s for {what} in vain; the hosts' consoles are hosts/*/console.log")
        time.sleep(0.3)
    if not quiet:
        say(f"  {what}: done")
