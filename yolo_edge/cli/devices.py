"""`yolo-edge devices`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.devices_web import web
from yolo_edge.cli.options import Group, InventoryFile, Json
from yolo_edge.cli.options import path as path_option

if TYPE_CHECKING:
    from yolo_edge.devices.device import Device
    from yolo_edge.devices.facts import Facts
    from yolo_edge.devices.setup import Plan

devices = typer.Typer(
    name="devices",
    cls=Group,
    help="Boards that other commands run on with --device NAME: what they are, what can be measured there.",
    rich_markup_mode=None,
)

devices.command()(web)

_SHORT = 30  # of names that stand in a column

Name = Annotated[str, typer.Argument(help="Of a device.", metavar="NAME", show_default=False)]


@devices.command("list")
def list_(inventory: InventoryFile = None, json: Json = False) -> None:
    """Show the devices of the inventory, and where it is."""
    from yolo_edge.cli.output import note, print_json, print_table
    from yolo_edge.devices.inventory import default_path, read_inventory

    found = read_inventory(inventory)
    if json:
        print_json([{"name": name, **_plain(entry)} for name, entry in found.items()])
        return
    rows = [
        [name, "this machine" if name == "local" else entry.url, entry.python or "", "yes" if entry.emulated else ""]
        for name, entry in found.items()
    ]
    print_table(["device", "where", "python", "emulated"], rows)
    place = inventory or default_path()
    note(f"The inventory is {place}." if place.exists() else f"There is no {place} yet: yolo-edge devices add NAME URL")


@devices.command()
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(
            help="ssh://[USER@]HOST[:PORT], a host of ~/.ssh/config will do; adb://SERIAL or adb://HOST:PORT.",
            metavar="URL",
            show_default=False,
        ),
    ],
    python: Annotated[
        str | None,
        typer.Option(help="The interpreter there. Default: python3.", metavar="PROGRAM", show_default=False),
    ] = None,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="It is an emulator: withhold its times. User-mode qemu is recognised.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a device of the same name.")] = False,
    inventory: InventoryFile = None,
    json: Json = False,
) -> None:
    """Add a device to the inventory. It is not connected to: `probe` does that."""
    from yolo_edge.cli.output import note, print_json
    from yolo_edge.devices.inventory import Entry, add_device, check_name
    from yolo_edge.devices.transports import open_device

    check_name(name)
    entry = Entry(url=url, python=python, emulated=emulated)
    open_device(name, entry)  # refuses addresses that lead nowhere
    add_device(name, entry, inventory, replace=replace)
    if json:
        print_json({"name": name, **_plain(entry)})
    note(f"{name} is {url}; what it is: yolo-edge devices probe {name}")


@devices.command()
def remove(name: Name, inventory: InventoryFile = None) -> None:
    """Take a device out of the inventory. Nothing changes on it."""
    from yolo_edge.cli.output import note
    from yolo_edge.devices.inventory import remove_device

    remove_device(name, inventory)
    note(f"{name} is no longer in the inventory")


@devices.command()
def probe(name: Name, inventory: InventoryFile = None, json: Json = False) -> None:
    """Tell what a device is, what runs there, and what can be measured: or why not, and what to do."""
    from yolo_edge.cli.output import print_json

    found = _probe(name, inventory)
    if json:
        print_json(found)
    else:
        _print_facts(found)


@devices.command()
def setup(
    name: Name,
    runtime: Annotated[
        str,
        typer.Option(
            help="Which to install, with commas between: onnxruntime, tflite, openvino; opencv comes with any, and "
            "alone takes least room.",
        ),
    ] = "onnxruntime,tflite",
    offline: Annotated[
        bool,
        typer.Option("--offline", help="The device needs no network: this machine fetches wheels, unpacks them there."),
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(
            help="A folder of wheels, for a machine without network, too.", show_default=False, parser=path_option
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: InventoryFile = None,
    json: Json = False,
) -> None:
    """Install runtimes on a device, in an environment of its own; says what it will do first."""
    from yolo_edge.cli.options import split
    from yolo_edge.cli.output import note, print_json, steps
    from yolo_edge.devices.inventory import LOCAL, find_device
    from yolo_edge.devices.setup import Setup
    from yolo_edge.devices.transports import open_device
    from yolo_edge.ondevice.errors import InputError, YoloEdgeError
    from yolo_edge.ondevice.runtimes import RUNTIMES

    runtimes = split(runtime, "runtime")
    unknown = [wanted for wanted in runtimes if wanted not in RUNTIMES[1:]]
    if unknown:
        raise InputError(f"--runtime {unknown[0]}: expected {', '.join(RUNTIMES[1:])}")
    entry = find_device(name, inventory)
    if name == LOCAL:
        raise InputError("local: is this machine, and runs what this Python has: pip install 'yolo-edge[all]'")
    if not yes and not _can_ask():
        raise InputError("setup asks before it changes a device, and there is no terminal to ask on: --yes")
    with open_device(name, entry) as device:
        note(f"{name}: looking at it, and for wheels …")
        with Setup(device, offline=offline, wheels=wheels, runtimes=runtimes) as job:
            _show_plan(job.plan)
            if not yes and not typer.confirm("Go on?", err=True):
                note("nothing was changed")
                raise typer.Exit(1)
            with steps(job.steps()) as advance:
                job.carry_out(advance)
            plan = job.plan
    found = _probe(name, inventory)
    if json:
        print_json({**_plain(plan), "runtimes": found.runtimes})
    else:
        _print_runtimes(found)
    broken = [key for key, value in found.runtimes.items() if value is not None and value["problem"]]
    if broken:
        raise YoloEdgeError(f"{name}: {', '.join(broken)} does not load there: {found.runtimes[broken[0]]['problem']}")


def _probe(name: str, inventory: Path | None) -> "Facts":
    from yolo_edge.devices.adb import AdbDevice
    from yolo_edge.devices.agents import AgentProcess, local_command
    from yolo_edge.devices.android.facts import android_facts
    from yolo_edge.devices.facts import ask_facts, read_facts
    from yolo_edge.devices.inventory import LOCAL, find_device
    from yolo_edge.devices.local import LocalDevice
    from yolo_edge.devices.session import AgentMissingError, Session
    from yolo_edge.devices.transports import open_device

    entry = find_device(name, inventory)
    if name == LOCAL:
        with AgentProcess(local_command(), name) as agent:
            return _with_power(ask_facts(name, entry.url, agent), LocalDevice())
    with open_device(name, entry) as device:
        if isinstance(device, AdbDevice):
            return android_facts(device, emulated=entry.emulated)
        try:
            session = Session(device)
        except AgentMissingError as error:
            return _with_power(read_facts(device, error.remedy, emulated=entry.emulated), device)
        with session.connect("looking at it") as agent:
            found = ask_facts(name, entry.url, agent, emulated=entry.emulated)
        return _with_power(found, device)


def _with_power(found: "Facts", device: "Device") -> "Facts":
    from msgspec import structs

    from yolo_edge.devices.jetson import ask_power

    return structs.replace(found, power=ask_power(device)) if found.l4t else found


def _can_ask() -> bool:
    import sys

    return sys.stdin is not None and sys.stdin.isatty()


def _plain(value: object) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _show_plan(plan: "Plan") -> None:
    from yolo_edge.cli.output import file_size, note

    if plan.way == "termux":
        note(f"{plan.name} is Termux ({plan.machine}, Python {plan.python}); its package manager will install:")
        for text in (" ".join(plan.requirements), *plan.notes):
            note(f"  {text}")
        return
    note(
        f"{plan.name} ({plan.machine}, Python {plan.python}) will get a virtual environment, and nothing else changes:"
    )
    seen = ", which sees the distribution's packages" if plan.system_site else ""
    note(f"  {plan.environment}{seen}")
    if plan.way == "pip":
        note(f"  its own pip installs: {' '.join(plan.requirements)}")
    else:
        note("  wheels from this machine, unpacked there:")
        for wheel in plan.wheels:
            note(f"    {wheel.name:26} {wheel.version:12} {file_size(wheel.bytes):>9}")
        note(f"    {'in all':39} {file_size(sum(wheel.bytes for wheel in plan.wheels)):>9}")
    for text in plan.notes:
        note(f"  note: {text}")


def _print_facts(found: "Facts") -> None:
    from yolo_edge.cli.output import note, print_table
    from yolo_edge.devices import profiles

    print_table([found.name, ""], _rows(found))
    _print_runtimes(found)
    power = profiles.match(found.model).power
    meters = [(meter.kind, f"{meter.scope}: {meter.reason}") for meter in found.meters if meter.available]
    if any(meter.available and meter.scope == power.scope for meter in found.meters):
        meters.append((str(power.scope), power.meaning))
    _print_lines("power meters", meters)
    missing = [(meter.kind, _said(meter.reason, meter.remedy)) for meter in found.meters if not meter.available]
    other = "other " if len(missing) < len(found.meters) else ""
    _print_lines(f"{other}power meters, and why not", missing)
    _print_lines("what does not work, and what does", [(limit["what"], limit["remedy"]) for limit in found.limits])
    if found.emulated:
        note(f"{found.name} is emulated: what it detects is right, its times and energy mean nothing and are withheld.")


def _rows(found: "Facts") -> list[list[object]]:
    cpu, thermals = found.cpu, found.thermals
    cores = [
        f"{core['count']} x {core['kind']}"
        + (f" ({core['size']})" if core.get("size") else "")
        + (f", up to {core['max_mhz']:.0f} MHz" if core["max_mhz"] else "")
        for core in cpu["cores"]
    ]
    clocks = [f"{clock:.0f}" for clock in dict.fromkeys(cpu["clock_mhz"])]
    heat = [f"{name} {value:.1f} °C" for name, value in thermals["temperatures_c"].items()]
    memory = None if found.memory_mb is None else f"{found.memory_mb / 1e3:.1f} GB"
    if memory and found.available_mb is not None:
        memory += f", {found.available_mb / 1e3:.1f} GB of it free"
    jetpack = f"JetPack {found.jetpack}, " if found.jetpack else ""
    facts = {
        "where": "this machine" if found.name == "local" else found.url,
        "board": found.model,
        "kind": found.profile,
        "SoC": found.soc,
        "CPU": " + ".join(cores) or cpu["name"],
        "architecture": found.machine,
        "vector features": " ".join(cpu["vector"]),
        "memory": memory,
        "system": ", ".join(text for text in (found.os, f"kernel {found.kernel}" if found.kernel else "") if text),
        **({"Jetson Linux": f"{jetpack}L4T {found.l4t}"} if found.l4t else {}),
        **({"power mode": _power_mode(found)} if found.power_mode else {}),
        "governor": ", ".join(cpu["governors"]),
        "clocks": f"{', '.join(clocks)} MHz" if clocks else None,
        "temperatures": ", ".join(heat),
        "throttling": _throttling(thermals),
        **({"battery": _battery(found.phone)} if found.phone else {}),
        "Python": _python(found),
    }
    return [[name, text or "not available"] for name, text in facts.items()]


def _power_mode(found: "Facts") -> str:
    parts = [found.power_mode or "?"]
    if found.power is not None:
        others = [mode for mode in found.power.modes if mode.name != found.power_mode]
        listed = ", ".join(f"{mode.number}: {mode.name} with {mode.cpus} CPUs" for mode in others)
        parts += [f"others (sudo nvpmodel -m NUMBER): {listed}"] if listed else []
        if found.power.clocks is not None:
            fixed = found.power.clocks.fixed
            parts.append("clocks fixed by jetson_clocks" if fixed else "clocks move (sudo jetson_clocks fixes them)")
    return "; ".join(parts)


def _throttling(thermals: dict[str, Any]) -> str | None:
    if thermals.get("status") is not None:
        return f"thermal status {thermals['status']} ({thermals['status_text']})"
    if thermals["throttled"] is None:
        count = thermals["throttle_count"]
        return None if count is None else f"{count} events of the CPU since it was started"
    now = ", ".join(thermals["throttled_now"]) or "no"
    before = ", ".join(thermals["throttled_since_boot"]) or "no"
    return f"now: {now}; since it was started: {before} ({thermals['throttled']:#x})"


def _battery(phone: dict[str, Any]) -> str | None:
    parts = [f"{phone['battery_percent']} %"] if phone["battery_percent"] is not None else []
    parts += [f"{phone['battery_c']:.1f} °C"] if phone["battery_c"] is not None else []
    return ", ".join([*parts, phone["charging"] or "not charging"])


def _python(found: "Facts") -> str | None:
    from yolo_edge.devices.facts import shown_version

    if found.python is None:
        return "none that the agent runs with"
    return f"{shown_version(found.python['version'])}, {found.python['executable']}"


def _print_runtimes(found: "Facts") -> None:
    from yolo_edge.cli.output import note, print_table

    rows = []
    for name, value in found.runtimes.items():
        if value is None:
            rows.append([name, "not installed"])
        else:
            rows.append([name, value["version"] if value["problem"] is None else f"does not load: {value['problem']}"])
    if rows:
        print_table(["library", "version"], rows)
    works = {name for name, value in found.runtimes.items() if value is not None and value["problem"] is None}
    if found.python is None:
        return
    if not {"numpy", "opencv"} <= works:
        note(f"No model runs there yet: yolo-edge devices setup {found.name}")
    elif not works - {"numpy", "opencv"}:
        note(f"OpenCV alone runs models there (--runtime opencv): for more, yolo-edge devices setup {found.name}")


def _print_lines(title: str, rows: list[tuple[str, str]]) -> None:
    """Texts that a table would make too wide, each on a line of its own that a terminal may break."""
    from yolo_edge.ondevice.files import printable

    if not rows:
        return
    width = max((len(name) for name, _ in rows if len(name) < _SHORT), default=0)
    lines = [f"   {name:{width}}   {text}" if len(name) < _SHORT else f"   {name}: {text}" for name, text in rows]
    typer.echo("\n".join([f" {title}", *(printable(line) for line in lines), ""]))


def _said(reason: str | None, remedy: str | None) -> str:
    return "; ".join(text for text in (reason, remedy) if text)
