"""File systems of machines with power meters."""

from pathlib import Path

ORIN = {"name": "Orin", "total": ["VDD_IN"], "scope": "module_input"}
AGX_ORIN = {"name": "AGX Orin", "total": ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], "scope": "module_input"}

ADC = """\
   3V3_SYS_A current(1)=0.50000000A
  VDD_CORE_A current(7)=2.00000000A
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
"""


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def program(root: Path, name: str, script: str) -> None:
    """A program in a tree: what a shell script prints."""
    path = write(root, {f"usr/bin/{name}": f"#!/bin/sh\n{script}"}) / "usr/bin" / name
    path.chmod(0o755)


def pi5(root: Path, adc: str = ADC) -> Path:
    write(root, {"sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0", "adc.txt": adc})
    program(root, "vcgencmd", f'[ "$1" = pmic_read_adc ] && cat "{root}/adc.txt"')
    return root


def rapl(root: Path, package: int = 1_000_000, wrap: int = 262_143_328_850) -> Path:
    """Two packages, of which the first shows its cores and memory, and the platform."""
    zones = {
        "intel-rapl:0": ("package-0", package),
        "intel-rapl:0:0": ("core", 600_000),
        "intel-rapl:0:1": ("dram", 100_000),
        "intel-rapl:1": ("package-1", 500_000),
        "intel-rapl:2": ("psys", 3_000_000),
        "intel-rapl-mmio:0": ("package-0", 7),
    }
    for zone, (name, energy) in zones.items():
        folder = f"sys/class/powercap/{zone}"
        write(root, {f"{folder}/name": name, f"{folder}/energy_uj": energy, f"{folder}/max_energy_range_uj": wrap})
    return write(root, {"sys/class/powercap/intel-rapl/enabled": 1})


def hwmon(root: Path, chip: str, rails: list[tuple[str, int, int]], number: int = 3) -> Path:
    """An INA3221 as Linux 5 shows it: label, millivolts, milliamperes of each channel."""
    folder = f"sys/bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon{number}"
    write(root, {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": 9})
    for i, (label, volts, amperes) in enumerate(rails, 1):
        files = {f"in{i}_label": label, f"in{i}_input": volts, f"curr{i}_input": amperes, f"in{i + 3}_input": 11}
        write(root, {f"{folder}/{name}": value for name, value in files.items()})
    return root


def iio(root: Path, chip: str, rails: list[tuple[str, int]]) -> Path:
    """An INA3221 as NVIDIA's kernel 4.9 shows it: name and milliwatts of each channel."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{chip}/iio:device0"
    for i, (label, power) in enumerate(rails):
        write(root, {f"{folder}/rail_name_{i}": label, f"{folder}/in_power{i}_input": power})
    return root
