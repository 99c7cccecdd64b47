"""From a task body and a claim to what a launcher needs: environment, prefix, path templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hqtrio.model.fields import field_texts
from hqtrio.model.requests import format_need
from hqtrio.model.resources import CPUS, UNIT, Claim, Share, Variants
from hqtrio.model.task import PinMode, Stdio, TaskBody
from hqtrio.notifying import ACCESS_VARIABLE
from hqtrio.placeholders import split
from hqtrio.worker.bodies import Body
from hqtrio.worker.orders import FIELDS, Field, Output, Stream, Template, UseBody

Environment = tuple[tuple[bytes, bytes], ...]

# A value that the user gave to the task wins over ours, one that the worker inherited does not.
USER_WINS: Final = (b"OMP_NUM_THREADS", b"OMP_PROC_BIND", b"OMP_PLACES")
NVIDIA: Final = "gpus/nvidia"
AMD: Final = "gpus/amd"
PINNING_FAILED: Final = "Pinning failed, no CPU ids allocated for task"


class NotPrepared(Exception):
    """The task cannot run in this slot; the text tells the user why."""


@dataclass(frozen=True, slots=True)
class Site:
    """What launches depend on and the machine may not look up: this process's surroundings.

    `hq` is the command for `$HQ`, one word. Task directories are made in `work_dir`. Tasks reach
    the worker at `notify_socket` (empty: not at all), with tokens that only `token_key` makes.
    The streamer listens at `stream_socket`; `worker` is this one's id.
    """

    environment: Environment
    hq: bytes
    work_dir: str
    server_uid: str = ""
    notify_socket: str = ""
    token_key: bytes = b""
    stream_socket: str = ""
    worker: int = 0


@dataclass(frozen=True, slots=True)
class LanePlan:
    """What every task of one slot and pin mode gets."""

    env: Environment
    user_wins: Environment
    prefix: tuple[bytes, ...]


def template(text: str, values: dict[str, str | int]) -> Template:
    """The text with known placeholders filled in or named; unknown ones stay verbatim."""
    pieces: list[str | int] = []
    for piece in split(text):
        value = piece if isinstance(piece, str) else values.get(piece.name, str(piece))
        if isinstance(value, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += value
        else:
            pieces.append(value)
    return tuple(pieces)


def use_body(launcher: int, body: Body, site: Site) -> UseBody:
    """What the launcher needs to know of a body before its tasks."""
    content = body.content
    values: dict[str, str | int] = {
        "JOB_ID": str(body.job),
        "SUBMIT_DIR": content.submit_dir,
        "SERVER_UID": site.server_uid,
        "TASK_ID": Field.TASK_ID,
        "INSTANCE_ID": Field.INSTANCE_ID,
    }
    values |= {name: FIELDS + place for place, name in enumerate(content.fields)}
    cwd = template(content.cwd or content.submit_dir, values)
    values["CWD"] = Field.CWD
    filled = values if content.fills else {}
    return UseBody(
        launcher=launcher,
        key=body.key,
        args=tuple(_filled(arg, filled) for arg in content.args),
        env=_environment(content, site, filled),
        submit_dir=content.submit_dir,
        cwd=cwd,
        stdout=_output(content.stdout, values),
        stderr=_output(content.stderr, values),
        stdin=_filled(content.stdin, filled),
        task_dir_root=site.work_dir if content.task_dir else "",
        script=content.script,
        stream=_stream(content, site),
        function_calls=content.function_calls,
    )


def entry_values(body: Body, entries: Sequence[bytes]) -> tuple[tuple[bytes, ...], ...]:
    """What the templates of a body take from each of these entries, if anything."""
    names = body.content.fields
    if not names:
        return ()
    return tuple(
        tuple(text.encode("utf-8", "surrogatepass") for text in field_texts(entry, names))
        for entry in entries
    )


def _filled(data: bytes, values: dict[str, str | int]) -> bytes | Template:
    """The bytes, or a template if one of these placeholders is in them."""
    if not values or b"%{" not in data:
        return data
    pieces = template(data.decode("utf-8", "surrogateescape"), values)
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(map(str, pieces)).encode("utf-8", "surrogateescape")
    return pieces


def _environment(
    content: TaskBody, site: Site, filled: dict[str, str | int]
) -> tuple[tuple[bytes, bytes | Template], ...]:
    env: dict[bytes, bytes | Template] = {
        name: value for name, value in site.environment if name not in USER_WINS
    }
    env.update((name, _filled(value, filled)) for name, value in content.env)
    env[b"HQ_SUBMIT_DIR"] = content.submit_dir.encode(errors="surrogateescape")
    env[b"HQ"] = site.hq
    env.pop(ACCESS_VARIABLE, None)
    if site.notify_socket:
        # The launcher adds each execution's token.
        env[ACCESS_VARIABLE] = site.notify_socket.encode(errors="surrogateescape") + b":"
    return tuple(env.items())


def _stream(content: TaskBody, site: Site) -> Stream | None:
    mask = content.stdout.stream | content.stderr.stream << 1
    if not mask:
        return None
    return Stream(site.stream_socket, content.stream_dir, site.server_uid, site.worker, mask)


def _output(stdio: Stdio, values: dict[str, str | int]) -> Output | None:
    if stdio.path is None:
        return None
    return Output(template(stdio.path, values), stdio.remove_if_finished)


def plan_lane(variants: Variants, variant: int, claim: Claim, pin: PinMode, site: Site) -> LanePlan:
    """Environment and command prefix of tasks with this claim. Raises NotPrepared."""
    request = variants[variant]
    env: dict[bytes, bytes] = {}
    # What the worker itself inherited fills in where neither the user nor we set it.
    user_wins = {name: value for name, value in site.environment if name in USER_WINS}
    prefix: tuple[bytes, ...] = ()
    shares = {share.resource: share for share in claim.shares}
    if not request.nodes:
        for need in request.needs:
            suffix = _variable(need.resource)
            env[b"HQ_RESOURCE_REQUEST_" + suffix] = format_need(need).encode()
            share = shares.get(need.resource)
            if share is not None and share.labels:
                env[b"HQ_RESOURCE_VALUES_" + suffix] = _labels(share)
        if len(variants) > 1:
            env[b"HQ_RESOURCE_VARIANT"] = b"%d" % variant
        cpus = shares.get(CPUS)
        if cpus is not None:
            if cpus.labels:
                env[b"HQ_CPUS"] = _labels(cpus)
            if cpus.amount % UNIT == 0:
                user_wins[b"OMP_NUM_THREADS"] = b"%d" % (cpus.amount // UNIT)
        # Devices without identity (a sum) cannot be chosen; an empty list would hide them all.
        if NVIDIA in shares and shares[NVIDIA].labels:
            env[b"CUDA_VISIBLE_DEVICES"] = _labels(shares[NVIDIA])
            env[b"CUDA_DEVICE_ORDER"] = b"PCI_BUS_ID"
        if AMD in shares and shares[AMD].labels:
            env[b"ROCR_VISIBLE_DEVICES"] = _labels(shares[AMD])
    if pin != PinMode.NONE:
        ids = env.get(b"HQ_CPUS", b"")
        if not ids:
            raise NotPrepared(PINNING_FAILED)
        if pin == PinMode.TASKSET:
            env[b"HQ_PIN"] = b"taskset"
            prefix = (b"taskset", b"-c", ids)
        else:
            env[b"HQ_PIN"] = b"omp"
            user_wins[b"OMP_PROC_BIND"] = b"close"
            user_wins[b"OMP_PLACES"] = b"{" + ids + b"}"
    return LanePlan(tuple(env.items()), tuple(user_wins.items()), prefix)


def _variable(resource: str) -> bytes:
    """The resource's name as part of a variable: everything but letters and digits is `_`."""
    return bytes(c if chr(c).isalnum() and c < 128 else 95 for c in resource.encode())


def _labels(share: Share) -> bytes:
    return ",".join(share.labels).encode()
