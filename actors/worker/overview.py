"""Tells now and then how busy the node is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import trio

from actors.kit.mailbox import ActorStopped, Mailbox
from actors.worker.programs import ask_program
from hqtrio.errors import InputError
from hqtrio.model.load import DeviceLoad, NodeLoad
from hqtrio.model.resources import Descriptor
from hqtrio.worker.events import Event, Sampled
from hqtrio.worker.hardware import AMD, NVIDIA
from hqtrio.worker.loads import AMD_COMMAND, NVIDIA_COMMAND, amd_loads, nvidia_loads

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_S: Final = 10.0  # for a program that asks the GPUs
FIRST_S: Final = 1.0  # a share of time needs some time to be a share of


async def watch_load(mailbox: Mailbox[Event], descriptor: Descriptor, interval_s: float) -> None:
    """Tell the worker how busy its node is, again `interval_s` after each time.

    Of the GPUs those kinds are asked that the worker offers. What cannot be asked is left out,
    and the log says so once.
    """
    offered = {pool.resource for pool in descriptor.pools}
    nvidia = _Gpus(NVIDIA_COMMAND, nvidia_loads) if NVIDIA in offered else None
    amd = _Gpus(AMD_COMMAND, amd_loads) if AMD in offered else None
    try:
        meter = await _aside(_Meter)
        await trio.sleep(min(interval_s, FIRST_S))
        while True:
            load = msgspec.structs.replace(
                await _aside(meter.read),
                nvidia=None if nvidia is None else await nvidia.ask(),
                amd=None if amd is None else await amd.ask(),
            )
            await mailbox.put(Sampled(load))
            await trio.sleep(interval_s)
    except ActorStopped:
        pass  # the worker ends
    except (OSError, RuntimeError) as error:
        log.warning("the load of this machine cannot be read, and is not told: %s", error)


class _Meter:
    """Reads what the system counts; CPU time as shares of the time since the last reading."""

    def __init__(self) -> None:
        self._before = _cpu_seconds()

    def read(self) -> NodeLoad:
        """Everything but the GPUs."""
        import psutil

        before, self._before = self._before, _cpu_seconds()
        memory = psutil.virtual_memory()
        interfaces = list(psutil.net_io_counters(pernic=True).values())
        return NodeLoad(
            tuple(map(_share, before, self._before)),
            memory.total,
            memory.available,
            received_bytes=sum(one.bytes_recv for one in interfaces),
            sent_bytes=sum(one.bytes_sent for one in interfaces),
            received_packets=sum(one.packets_recv for one in interfaces),
            sent_packets=sum(one.packets_sent for one in interfaces),
            received_errors=sum(one.errin for one in interfaces),
            sent_errors=sum(one.errout for one in interfaces),
        )


def _cpu_seconds() -> list[tuple[float, float]]:
    """Of each CPU: how long it has worked, and how long it has been there."""
    import psutil

    seconds = []
    for times in psutil.cpu_times(percpu=True):
        rest = times.idle + getattr(times, "iowait", 0.0)
        # Time that was given to guests is counted as the user's as well.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        everything = sum(times) - guests
        seconds.append((everything - rest, everything))
    return seconds


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """In per cent; the counters of the system may step back a little."""
    passed = after[1] - before[1]
    share = 100.0 * (after[0] - before[0]) / passed if passed > 0 else 0.0
    return round(min(max(share, 0.0), 100.0), 2)


class _Gpus:
    """The GPUs of one vendor, asked by a program of that vendor's."""

    def __init__(
        self, command: tuple[str, ...], read: Callable[[str], tuple[DeviceLoad, ...]]
    ) -> None:
        self._command, self._read = command, read
        self._is_warned = False

    async def ask(self) -> tuple[DeviceLoad, ...] | None:
        """How busy they are, or None."""
        try:
            return self._read(await ask_program(self._command, answer_s=ANSWER_S))
        except InputError as error:
            why = str(error)
        if not self._is_warned:
            self._is_warned = True
            log.warning("%s: %s; nothing is told of these GPUs", self._command[0], why)
        return None


async def _aside(work: Callable[[], T]) -> T:
    """What `work` returns, read in a thread: a slow file system is not to hold the worker."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
