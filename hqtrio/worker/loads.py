"""How busy the GPUs of a node are, from what the vendors' programs print."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

import msgspec

from hqtrio.errors import InputError
from hqtrio.model.load import DeviceLoad

NVIDIA_COMMAND: Final = (
    "nvidia-smi",
    "--query-gpu=pci.bus_id,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader",
)
AMD_COMMAND: Final = ("rocm-smi", "--showbus", "--showuse", "--showmemuse", "--json")

# The program has renamed its figures over the years.
_AMD_MEMORY: Final = ("GPU Memory Allocated (VRAM%)", "GPU memory use (%)")
_AMD_PROCESSOR: Final = ("GPU use (%)",)
_AMD_ID: Final = "PCI Bus"
_NVIDIA_COLUMNS: Final = 4


def nvidia_loads(text: str) -> tuple[DeviceLoad, ...]:
    """The GPUs in the order of the lines. InputError if the text says something else."""
    loads = []
    for line in filter(str.strip, text.splitlines()):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != _NVIDIA_COLUMNS:
            raise InputError(f"{line.strip()[:80]!r} does not describe a GPU")
        bus, processor, used, total = cells
        memory = _figure(total)
        share = 100.0 * _figure(used) / memory if memory else 0.0
        loads.append(DeviceLoad(bus, _figure(processor), share))
    return tuple(loads)


def amd_loads(text: str) -> tuple[DeviceLoad, ...]:
    """The GPUs in the order of their cards. InputError if the text says something else."""
    try:
        cards = msgspec.json.decode(text, type=dict[str, dict[str, object]])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeEncodeError) as error:
        raise InputError(f"not a description of cards: {error}") from error
    loads = []
    for name in sorted((n for n in cards if n.startswith("card")), key=_card_order):
        card = cards[name]
        device = str(card.get(_AMD_ID, name))
        loads.append(DeviceLoad(device, _first(card, _AMD_PROCESSOR), _first(card, _AMD_MEMORY)))
    return tuple(loads)


def _card_order(name: str) -> tuple[int, str]:
    number = name.removeprefix("card")
    return (int(number) if number.isascii() and number.isdigit() else 0, name)


def _first(card: dict[str, object], names: Sequence[str]) -> float:
    for name in names:
        if name in card:
            return _figure(str(card[name]))
    raise InputError(f"a card does not say its {names[0]!r}")


def _figure(text: str) -> float:
    """The number before a unit, as in `10 %` or `200 MiB`; what a card cannot tell counts as 0."""
    number = text.strip().rstrip("%MiB ").strip()
    if number.strip("[]").lower() in ("n/a", "not supported"):
        return 0.0
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value >= 0):
        raise InputError(f"{text[:80]!r} is not a figure")
    return value
