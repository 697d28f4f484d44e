"""Hardware handoff (.hwh) of the engine for the simulated board.

On a real board Vivado writes this file and PYNQ reads base address, clock and
registers from it. The simulated board has no Vivado, so the same facts are
written here, in the same form: IP with its VLNV, processing system with its
clock parameters, address ranges, the interrupt's wire, and the registers at the
offsets Vitis HLS assigns. Only what pynqmetadata reads is written, of any
version that pynq 3.0.1 to 4.0.0 come with.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from bfp.files import write_bytes
from bfp.names import check_text

VLNV = "sbfp:hls:sbfp_engine:1.0"
BASE_ADDRESS = 0xA000_0000
ADDRESS_RANGE = 0x1_0000
PS = "zynq_ultra_ps_e_0"
CLOCK_SOURCE_MHZ = 1500
POINTERS = ("weights", "fmap_in", "fmap_shortcut", "fmap_out")
SCALARS_IN = ("layer_begin", "layer_end")
SCALARS_OUT = ("identity_low", "identity_high", "progress")  # progress: see hls/engine.hpp
INTERRUPT, INTERRUPT_INPUT = "interrupt", "pl_ps_irq0"
BUNDLES = ("gmem_weights", "gmem_in", "gmem_shortcut", "gmem_out")

_CTRL_FIELDS = (
    ("AP_START", 0, 1, "read-write"),
    ("AP_DONE", 1, 1, "read-only"),
    ("AP_IDLE", 2, 1, "read-only"),
    ("AP_READY", 3, 1, "read-only"),
    ("AUTO_RESTART", 7, 1, "read-write"),
    ("INTERRUPT", 9, 1, "read-only"),
)
_DONE_READY = (("CHAN0_INT_EN", 0, 1, "read-write"), ("CHAN1_INT_EN", 1, 1, "read-write"))
_STATUS = (("CHAN0_INT_ST", 0, 1, "read-only"), ("CHAN1_INT_ST", 1, 1, "read-only"))


def registers() -> list[tuple[str, int, str, tuple]]:
    """Name, byte offset, access and fields of every register, as Vitis HLS lays them out.

    64-bit pointers step by 12 bytes (low, high, reserved), scalar inputs by 8
    (data, reserved), scalar outputs by 16 (data, valid flag, 8 reserved).
    """
    rows: list[tuple[str, int, str, tuple]] = [
        ("CTRL", 0x00, "read-write", _CTRL_FIELDS),
        ("GIER", 0x04, "read-write", (("Enable", 0, 1, "read-write"),)),
        ("IP_IER", 0x08, "read-write", _DONE_READY),
        ("IP_ISR", 0x0C, "read-write", _STATUS),
    ]
    offset = 0x10
    for name in POINTERS:
        for half in (0, 1):
            rows.append((f"{name}_{half + 1}", offset + 4 * half, "write-only", ((name, 0, 32, "write-only"),)))
        offset += 12
    for name in SCALARS_IN:
        rows.append((name, offset, "write-only", ((name, 0, 32, "write-only"),)))
        offset += 8
    for name in SCALARS_OUT:
        rows.append((name, offset, "read-only", ((name, 0, 32, "read-only"),)))
        rows.append((f"{name}_ctrl", offset + 4, "read-only", ((f"{name}_ap_vld", 0, 1, "read-only"),)))
        offset += 16
    return rows


def write_hwh(path: str | Path, ip: str, lanes: int, clock_mhz: float) -> None:
    """Write the handoff of one engine instance ``ip``, words of ``lanes`` bytes, on a general-purpose port.

    clock_mhz: of the first PL clock, the engine's. Raises BfpError for an instance that XML cannot name.
    """
    check_text(ip, "instance", f"handoff {path}")
    root = ET.Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="", VIVADOVERSION="")
    ET.SubElement(root, "SYSTEMINFO", ARCH="zynquplus", NAME="sbfp")
    ET.SubElement(root, "EXTERNALPORTS")
    ET.SubElement(root, "EXTERNALINTERFACES")
    modules = ET.SubElement(root, "MODULES")
    _engine(modules, ip, lanes)
    _processing_system(modules, ip, clock_mhz)
    ET.indent(root)
    write_bytes(path, ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _module(modules: ET.Element, instance: str, vlnv: str, in_logic: bool) -> ET.Element:
    """A block; in_logic: of the programmable logic, by which older versions of PYNQ tell the processing system."""
    names = {"FULLNAME": f"/{instance}", "INSTANCE": instance, "MODTYPE": vlnv.split(":")[2], "VLNV": vlnv}
    return ET.SubElement(modules, "MODULE", IS_PL=str(in_logic).upper(), **names)


def _interrupt_port(module: ET.Element, name: str, direction: str, other: str, other_port: str, signal: str) -> None:
    """An end of the interrupt's wire: a port of the block, and the port of the other block that it leads to."""
    ports = ET.SubElement(module, "PORTS")
    port = ET.SubElement(ports, "PORT", DIR=direction, NAME=name, SIGIS="INTERRUPT", SIGNAME=signal)
    ET.SubElement(ET.SubElement(port, "CONNECTIONS"), "CONNECTION", INSTANCE=other, PORT=other_port)


def _engine(modules: ET.Element, ip: str, lanes: int) -> None:
    module = _module(modules, ip, VLNV, in_logic=True)
    _interrupt_port(module, INTERRUPT, "O", PS, INTERRUPT_INPUT, f"{ip}_{INTERRUPT}")
    block = ET.SubElement(
        ET.SubElement(module, "ADDRESSBLOCKS"),
        "ADDRESSBLOCK",
        ACCESS="read-write",
        INTERFACE="s_axi_control",
        NAME="Reg",
        RANGE=str(ADDRESS_RANGE),
        USAGE="register",
    )
    block = ET.SubElement(block, "REGISTERS")
    for name, offset, access, fields in registers():
        register = ET.SubElement(block, "REGISTER", NAME=name)
        _properties(register, ADDRESS_OFFSET=hex(offset), SIZE=32, ACCESS=access, IS_ENABLED="true")
        parent = ET.SubElement(register, "FIELDS")
        for field, bit, width, kind in fields:
            _properties(ET.SubElement(parent, "FIELD", NAME=field), BIT_OFFSET=bit, BIT_WIDTH=width, ACCESS=kind)
    parameters = {"C_S_AXI_CONTROL_BASEADDR": hex(BASE_ADDRESS)}
    for bundle in BUNDLES:
        parameters[f"C_M_AXI_{bundle.upper()}_DATA_WIDTH"] = str(8 * lanes)
        parameters[f"C_M_AXI_{bundle.upper()}_ADDR_WIDTH"] = "64"
    _parameters(module, parameters)
    interfaces = ET.SubElement(module, "BUSINTERFACES")
    _interface(interfaces, "s_axi_control", "SLAVE")
    memory_map = ET.SubElement(module, "MEMORYMAP")
    for port, bundle in enumerate(BUNDLES):
        _interface(interfaces, f"m_axi_{bundle}", "MASTER")
        _range(memory_map, f"HP{port}_DDR_LOW", 0, 0x7FFF_FFFF, PS, "MEMORY", f"m_axi_{bundle}", f"S_AXI_HP{port}_FPD")


def _processing_system(modules: ET.Element, ip: str, clock_mhz: float) -> None:
    module = _module(modules, PS, "xilinx.com:ip:zynq_ultra_ps_e:3.4", in_logic=False)
    _interrupt_port(module, INTERRUPT_INPUT, "I", ip, INTERRUPT, f"{ip}_{INTERRUPT}")
    parameters = {}
    first, second = _divisors(clock_mhz)
    for clock in range(4):
        parameters[f"PSU__FPGA_PL{clock}_ENABLE"] = str(int(clock == 0))
        control = f"PSU__CRL_APB__PL{clock}_REF_CTRL"
        parameters[f"{control}__DIVISOR0"] = str(first)
        parameters[f"{control}__DIVISOR1"] = str(second)
        parameters[f"{control}__SRCSEL"] = "IOPLL"
        parameters[f"{control}__ACT_FREQMHZ"] = str(clock_mhz)
    _parameters(module, parameters)
    interfaces = ET.SubElement(module, "BUSINTERFACES")
    _interface(interfaces, "M_AXI_HPM0_FPD", "MASTER")
    for port in range(4):
        _interface(interfaces, f"S_AXI_HP{port}_FPD", "SLAVE")
    memory_map = ET.SubElement(module, "MEMORYMAP")
    end = BASE_ADDRESS + ADDRESS_RANGE - 1
    _range(memory_map, "Reg", BASE_ADDRESS, end, ip, "REGISTER", "M_AXI_HPM0_FPD", "s_axi_control")


def _divisors(clock_mhz: float) -> tuple[int, int]:
    """The two divisors, of six bits, by which the clock's source comes nearest to a clock."""
    pairs = [(first, second) for second in range(1, 64) for first in range(1, 64)]
    return min(pairs, key=lambda pair: (abs(CLOCK_SOURCE_MHZ / (pair[0] * pair[1]) - clock_mhz), pair[1]))


def _properties(parent: ET.Element, **values: object) -> None:
    for name, value in values.items():
        ET.SubElement(parent, "PROPERTY", NAME=name, VALUE=str(value))


def _parameters(module: ET.Element, values: dict[str, str]) -> None:
    parent = ET.SubElement(module, "PARAMETERS")
    for name, value in values.items():
        ET.SubElement(parent, "PARAMETER", NAME=name, VALUE=value)


def _interface(parent: ET.Element, name: str, kind: str) -> None:
    ET.SubElement(parent, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV="xilinx.com:interface:aximm:1.0")


def _range(
    parent: ET.Element, block: str, base: int, end: int, instance: str, kind: str, master: str, slave: str
) -> None:
    ET.SubElement(
        parent,
        "MEMRANGE",
        ADDRESSBLOCK=block,
        BASEVALUE=hex(base),
        HIGHVALUE=hex(end),
        INSTANCE=instance,
        MASTERBUSINTERFACE=master,
        SLAVEBUSINTERFACE=slave,
        MEMTYPE=kind,
    )
