"""Hosts that systemd runs: a virtual host, and in it process 1 of a machine of its own that can be booted again.

What outlives a boot is the host's: its network, /etc and /var/lib. Process 1 has its own processes, mounts, cgroups,
/run, /dev and /tmp, and at first an empty /etc/systemd/system and /var/lib/lateen; of the machine's own units only
those of the journal are there. Nothing of the machine around it changes but one cgroup, which goes with the host.
Python and Lateen are mounted below /mnt, since a service may have a /tmp of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from e2e.meshes import eventually
from e2e.virtual_hosts import SYSTEM_PATH, VirtualHost
from e2e.virtual_hosts import why_not as no_hosts

SYSTEMD = Path("/lib/systemd/systemd")
PYTHON = "/mnt/python/bin/python"
LATEEN = (PYTHON, "-m", "lateen.cli.main")
SOURCE = Path(__file__).parents[2] / "src"
_BOOT = """
set -e
echo $$ > "$1/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --cgroup --ipc --uts --propagation private sh -c '
set -e
hostname machine
mount -t proc proc /proc
for part in fs kernel vm; do
  mount --bind /proc/sys/$part /proc/sys/$part
  mount -o remount,bind,ro /proc/sys/$part
done
umount -R -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
d="$1"
mkdir -p $d/units $d/log $d/tmp $d/lateen /var/lib/lateen
mount --bind $d/units /etc/systemd/system
mount --bind $d/log /var/log
mount --bind $d/lateen /var/lib/lateen
# Other users are to run Python too, wherever below here that is.
mkdir -p -m 755 $d/root $d/root-work
mount -t overlay overlay -o lowerdir=/root,upperdir=$d/root,workdir=$d/root-work /root
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/python /mnt/source /mnt/apps /mnt/files
mount --bind "$2" /mnt/python
mount --bind "$3" /mnt/source
mount --bind "$4" /mnt/apps
mount --bind $d/tmp /mnt/files
mount -t tmpfs -o mode=755 none $d/dev
mkdir $d/dev/pts $d/dev/shm
for node in null zero full random urandom tty; do : > $d/dev/$node; mount --bind /dev/$node $d/dev/$node; done
ln -s /proc/self/fd $d/dev/fd
mount -t devpts -o newinstance,ptmxmode=0666 none $d/dev/pts
ln -s pts/ptmx $d/dev/ptmx
mount -t tmpfs none $d/dev/shm
mount --rbind $d/dev /dev
mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/systemd/system /run/systemd/system.conf.d
for link in /lib/systemd/system/*.target.wants/*; do
  case ${link##*/} in *journal*) ;; *) ln -sf /dev/null /run/systemd/system/${link##*/};; esac
done
mount -t tmpfs none /lib/systemd/system-generators
cat > /run/systemd/system.conf.d/tests.conf <<END
[Manager]
DefaultEnvironment=PYTHONPATH=/mnt/source PYTHONDONTWRITEBYTECODE=1
END
exec env -i container=lateen PATH="$PATH" /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal \
  --show-status=0
' sh "$2" "$3" "$4" "$5"
"""

_TRY = """
echo $$ > "$1/cgroup.procs" && exec unshare --mount --cgroup --pid --fork --propagation private \\
  sh -c 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup'
"""


@dataclass
class SystemdHost:
    """A machine: the virtual host that keeps what outlives a boot, and while it is on, its process 1."""

    host: VirtualHost
    cgroup: Path
    process: subprocess.Popen[bytes] | None = None
    init: int = 0
    _boots: int = field(default=0)

    def boot(self) -> None:
        self._boots += 1
        folder = self.host.folder / "machine"
        self.host.run("mkdir", "-p", str(folder / "dev"), check=True)
        self.process = self.host.start(
            "sh", "-c", _BOOT, "sh", str(self.cgroup), str(folder), sys.prefix, str(SOURCE),
            str(Path(__file__).parent / "apps"), log="boot",
        )  # fmt: skip
        eventually(self._booted, seconds=60, what=f"process 1 ({self.host.log('boot')[-500:]})")

    def _booted(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.host.log("boot")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            return False
        self.init = int(children[0])
        if "systemd" not in Path(f"/proc/{self.init}/comm").read_text():
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded", "starting")

    def inside(self, *command: str) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.init), "-m", "-p", "-C", "-i", "-u", "-n", *command)

    def run(self, *command: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        # As root's shell on that machine, not as ours.
        shell = {"PATH": SYSTEM_PATH, "HOME": "/root", "PYTHONPATH": "/mnt/source", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            self.inside(*command), capture_output=True, text=True, check=False, timeout=90, cwd="/",
            env={**shell, **environment},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{self.journal()[-4000:]}")
        return done

    def lateen(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*LATEEN, *words, check=check)

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run("systemctl", *words, check=check).stdout.strip()

    def shown(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name, unit)

    def pid(self, unit: str) -> int:
        """The main process of a unit, by its number on that machine; 0 for none."""
        return int(self.shown(unit, "MainPID"))

    def processes(self, unit: str) -> dict[int, str]:
        """All processes in the cgroup of a unit: number -> command."""
        found = self.run("cat", f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs").stdout.split()
        lines = (self.run("ps", "-o", "args=", "-p", pid).stdout.strip() for pid in found)
        return {int(pid): line for pid, line in zip(found, lines, strict=True) if line}

    def journal(self, unit: str = "") -> str:
        of = ("-u", unit) if unit else ()
        return self.run("journalctl", "--no-pager", "-o", "cat", *of).stdout

    def write(self, path: str, text: str) -> None:
        done = subprocess.run(self.inside("tee", path), input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def read(self, path: str) -> str:
        return self.run("cat", path, check=True).stdout

    def python(self, script: str, *arguments: str) -> str:
        return self.run(PYTHON, "-c", script, *arguments, check=True).stdout

    def state(self, unit: str, wanted: str, seconds: float = 40) -> None:
        """Wait for a state, as `active` or `failed`."""
        try:
            eventually(lambda: self.shown(unit, "ActiveState") == wanted, seconds=seconds, what=f"{unit} {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal(unit)[-4000:]}") from None

    def off(self, *, hard: bool = False) -> None:
        """Turn it off as `poweroff` does, or by its plug. The kernel forgets its rules."""
        assert self.process is not None
        if hard:
            self.run("kill", "-s", "KILL", "-1")
            self.process.kill()
        else:
            # As systemd asks its own process 1 in a container: SIGRTMIN+4 is poweroff.
            self.run("kill", "-s", "RTMIN+4", "1")
        self.process.wait(60)
        self.init = 0
        self.host.run("nft", "flush", "ruleset")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        remove_cgroups(self.cgroup)


def remove_cgroups(top: Path) -> None:
    def gone() -> bool:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        return not top.exists()

    eventually(gone, seconds=45, what="the end of the machine's processes")


def cgroup2() -> Path | None:
    """Where cgroups of version 2 are mounted."""
    lines = (line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines())
    return next((Path(place) for _, place, kind, *_ in lines if kind == "cgroup2"), None)


def why_not() -> str:
    """Return why no systemd can be started here."""
    if said := no_hosts():
        return said
    if not SYSTEMD.exists() or not shutil.which("systemctl"):
        return "systemd is not installed"
    if (top := cgroup2()) is None:
        return "cgroups of version 2 are not mounted"
    own = top / f"lateen-try-{os.getpid()}"
    try:
        own.mkdir()
        try:
            done = subprocess.run(
                ("sh", "-c", _TRY, "sh", str(own)), capture_output=True, text=True, check=False, timeout=20
            )
        finally:
            remove_cgroups(own)
    except OSError as error:
        return f"no cgroup can be made here: {error}"
    return f"no cgroups can be mounted here: {done.stderr.strip()}" if done.returncode else ""


@contextlib.contextmanager
def machine(host: VirtualHost) -> Iterator[SystemdHost]:
    """Turn a virtual host into a machine, and on."""
    top = cgroup2()
    assert top is not None
    cgroup = top / f"lateen-{host.name}-{os.getpid()}"
    cgroup.mkdir()
    made = SystemdHost(host, cgroup)
    try:
        made.boot()
        yield made
    finally:
        made.close()
