"""A phone for tests: a folder with Android's shell and tools, and what a phone says of itself, behind the real adb."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.devices.adbd import SHELL
from tests.support import skip

HERE = Path(__file__).parent
BATTERY = "sys/class/power_supply/battery"
ODPM = "sys/bus/iio/devices/iio:device{}/energy_value"
TOYS = re.findall(
    r"\w+",
    """cat chmod cut date dirname echo env false grep head kill ls mkdir mktemp mv nice nproc printf ps rm rmdir sed
    sleep sort stat tail tee test timeout touch true uname wc xargs""",
)

# two big, two middle, four little cores of a Pixel 6, as /proc/cpuinfo shows them
CORES = [("0xd05", 1803000, 160)] * 4 + [("0xd41", 2253000, 498)] * 2 + [("0xd44", 2802000, 1024)] * 2
PROPERTIES = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 6",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "google/oriole/oriole:14/AP1A/1:user/release-keys",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.hardware": "oriole",
}
THERMAL = """\
IsStatusOverride: false
Thermal Status: {}
Cached temperatures:
\tTemperature{{mValue=58.44, mType=0, mName=CPU, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{{mValue=44.181, mType=0, mName=CPU, mStatus=0}}
\tTemperature{{mValue=35.1, mType=3, mName=SKIN, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=cpu0}}
"""
DUMPED = """\
Current Battery Service state:
  AC powered: false
  USB powered: {}
  Wireless powered: false
  status: {}
  level: 80
  voltage: {}
  temperature: 280
"""
# as sh would find them on a phone, if less
PROGRAMS = {
    "getprop": 'if [ $# = 0 ]; then cat /properties; else sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" /properties; fi',
    "dumpsys": 'cat "/dumps/$1" 2>/dev/null || { echo "Can\'t find service: $1"; exit 0; }',
    # this machine has not as many CPUs
    "taskset": 'echo "$*" >>/tasksets; shift; exec "$@"',
    "cmd": '[ "$*" = "battery get -f current_now" ] && cat /dumps/current_now',
}


def programs_or_skip(*names: str) -> list[str]:
    """Where the programs are; without one of them the test skips, and fails in CI."""
    found = {name: shutil.which(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing or os.geteuid() != 0:
        skip(f"needs root and {', '.join(names)} (apt install {' '.join(missing or names)})")
    return [str(path) for path in found.values()]


@dataclass
class Phone:
    """The folder, and the port that its adbd listens at."""

    root: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"adb://127.0.0.1:{self.port}"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def thermal(self, status: int) -> None:
        self.write("dumps/thermalservice", THERMAL.format(status))

    def battery(self, *, current: str | None = "-150000", plugged: bool = False) -> None:
        """As the kernel and the battery service say it; no current: the kernel's files are not to be read."""
        self.write("dumps/battery", DUMPED.format(str(plugged).lower(), 2 if plugged else 3, 4000))
        self.write("dumps/current_now", "-150\n")
        for name, text in {"current_now": current, "voltage_now": "4000000"}.items():
            path = self.root / BATTERY / name
            if current is None:
                path.unlink(missing_ok=True)
            else:
                self.write(f"{BATTERY}/{name}", f"{text}\n")

    def odpm(self, *, cpu_uws: int = 1000) -> None:
        for number, rails in enumerate((("S2M_VDD_CPUCL2", "VSYS_PWR_MODEM"), ("L2S_VDD_AOC_RET",))):
            lines = [f"CH{i}(T=1000)[{rail}], {cpu_uws}" for i, rail in enumerate(rails)]
            self.write(ODPM.format(number), "\n".join(["t=1000", *lines, ""]))

    def counters(self, idle_w: int, busy_w: int) -> None:
        """Energy counters that run: so many watts idle, so many more while /state says that something works."""
        self.odpm()
        self.write("state", "0 0\n")
        script = f"""#!/system/bin/sh
case $1 in
*/iio:device0/energy_value)
    read t x </proc/uptime; read b s </state; c=${{t%.*}}${{t#*.}}
    [ "$s" = 0 ] || b=$((b+c-s))
    echo "t=${{t}}"
    echo "CH0(T=1)[S2M_VDD_CPUCL2], $((c*{idle_w}+b*{busy_w}))0000"
    echo "CH1(T=1)[VSYS_PWR_MODEM], ${{c}}0000"
    shift;;
esac
[ $# = 0 ] || exec toybox cat "$@"
"""
        (self.root / "system/bin/cat").unlink()
        path = self.write("system/bin/cat", script)
        path.chmod(0o755)

    def deny(self, *names: str) -> None:
        """From now on programs run as adb's own user, who may not look into these files, nor write into folders."""
        self.write("unprivileged", "")
        self.write("tasksets", "").chmod(0o666)
        os.chown(self.root / "data/local/tmp", SHELL, SHELL)
        for name in names:
            path = self.root / name
            os.chown(path, 0, 0)
            path.chmod(0o555 if path.is_dir() else 0)

    def left(self) -> list[str]:
        """What is in /data/local/tmp."""
        return sorted(path.name for path in (self.root / "data/local/tmp").iterdir())

    def running(self, what: str) -> list[int]:
        """Processes of the phone with this text in their command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                inside = (path.parent / "root").readlink() == self.root
                if inside and what in path.read_bytes().replace(b"\0", b" ").decode():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def unplug(self) -> None:
        """The cable is out: adbd is gone, what it ran lives on until its input ends."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def make_phone(root: Path) -> Phone:
    """A folder that looks like a Pixel 6 to a shell in it."""
    mksh, toybox = programs_or_skip("mksh", "toybox", "adb")[:2]
    for name in ("system/bin", "data/local/tmp", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    tools = root / "system/bin"
    for program, name in ((mksh, "sh"), (toybox, "toybox")):
        shutil.copy(program, tools / name)
        for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", program], text=True)):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    for toy in TOYS:
        (tools / toy).symlink_to("toybox")
    for name, script in PROGRAMS.items():
        (tools / name).write_text(f"#!/system/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    subprocess.run(["mknod", "-m", "666", str(root / "dev/null"), "c", "1", "3"], check=True)
    phone = Phone(root)
    phone.write("properties", "".join(f"[{key}]: [{value}]\n" for key, value in PROPERTIES.items()))
    blocks = [
        f"processor\t: {i}\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
        for i, (part, _, _) in enumerate(CORES)
    ]
    phone.write("proc/cpuinfo", "\n".join(blocks))
    phone.write("proc/meminfo", "MemTotal:        7800000 kB\nMemAvailable:    4000000 kB\n")
    for i, (_, clock, capacity) in enumerate(CORES):
        cpu = f"sys/devices/system/cpu/cpu{i}"
        phone.write(f"{cpu}/cpufreq/cpuinfo_max_freq", f"{clock}\n")
        phone.write(f"{cpu}/cpufreq/scaling_cur_freq", f"{clock}\n")
        phone.write(f"{cpu}/cpufreq/scaling_governor", "sched_pixel\n")
        phone.write(f"{cpu}/cpu_capacity", f"{capacity}\n")
    (root / "proc/uptime").touch()
    phone.thermal(0)
    phone.battery()
    return phone


# the clock has to go: the real one is laid over the file, in a mount namespace of adbd's own
_NAMESPACE = 'mount --bind /proc/uptime "$1/proc/uptime" && for p in /proc/[0-9]*; do :; done; exec "$2" "$3" 0 "$1"'


@contextmanager
def serving(phone: Phone) -> Iterator[Phone]:
    """The phone's adbd, at a port of its own."""
    command = ["unshare", "-m", "sh", "-c", _NAMESPACE, "sh", str(phone.root), sys.executable, str(HERE / "adbd.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        phone.process = process
        try:
            assert process.stdout is not None
            phone.port = int(process.stdout.readline() or 0)
            assert phone.port, "adbd does not start (unshare -m and mount are needed)"
            yield phone
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
