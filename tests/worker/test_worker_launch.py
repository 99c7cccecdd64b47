from __future__ import annotations

import pytest
from worker_bench import with_body

from hqtrio.model.resources import CPUS, UNIT, Claim, Need, Policy, Request, Share
from hqtrio.model.task import PinMode, Stdio
from hqtrio.worker.bodies import Body
from hqtrio.worker.launch import PINNING_FAILED, NotPrepared, Site, plan_lane, use_body
from hqtrio.worker.orders import Field, Output

SITE = Site(
    ((b"PATH", b"/bin"), (b"OMP_NUM_THREADS", b"9"), (b"HQ", b"outer")), b"/hq", "/w", "uid"
)


def request(*needs: Need, **more) -> tuple[Request, ...]:
    return (Request(needs, **more),)


def lane(*shares: Share, needs: tuple[Need, ...] = (), pin: PinMode = PinMode.NONE):
    return plan_lane(request(*needs), 0, Claim(shares), pin, SITE)


def test_placeholders_are_filled_or_named_and_unknown_ones_stay():
    body = with_body(
        cwd="%{SUBMIT_DIR}/%{TASK_ID}-%{X}",
        stdout=Stdio("%{CWD}/job-%{JOB_ID}/%{SERVER_UID}.%{INSTANCE_ID}", True),
        stderr=Stdio(None),
        task_dir=True,
    )
    order = use_body(3, Body(8, 5, body), SITE)
    assert (order.launcher, order.key, order.task_dir_root) == (3, 8, "/w")
    assert order.cwd == ("/here/", Field.TASK_ID, "-%{X}")
    assert order.stdout == Output((Field.CWD, "/job-5/uid.", Field.INSTANCE_ID), True)
    assert order.stderr is None


def test_the_environment_is_inherited_then_the_users_then_ours():
    body = with_body(env=((b"PATH", b"/mine"), (b"HQ", b"no"), (b"A", b"1")))
    env = dict(use_body(1, Body(1, 1, body), SITE).env)
    assert env == {
        b"PATH": b"/mine",
        b"A": b"1",
        b"HQ": b"/hq",
        b"HQ_SUBMIT_DIR": b"/here",
    }


def test_s2_21_omp_num_threads_is_the_users_then_ours_then_inherited():
    assert dict(lane(Share(CPUS, 4 * UNIT, tuple("0123"))).user_wins) == {b"OMP_NUM_THREADS": b"4"}
    fractional = lane(Share(CPUS, UNIT // 2, ("0",), UNIT // 2))
    assert dict(fractional.user_wins) == {b"OMP_NUM_THREADS": b"9"}
    user = with_body(env=((b"OMP_NUM_THREADS", b"100"),))
    assert (b"OMP_NUM_THREADS", b"100") in use_body(1, Body(1, 1, user), SITE).env


def test_resource_variables():
    needs = (
        Need(CPUS, 2 * UNIT, Policy.FORCE_COMPACT),
        Need("gpus/nvidia", 15_000),
        Need("mem", 0, Policy.ALL),
    )
    plan = lane(
        Share(CPUS, 2 * UNIT, ("4", "5")),
        Share("gpus/nvidia", 15_000, ("1", "0"), 5_000),
        Share("mem", 10 * UNIT),
        needs=needs,
    )
    assert dict(plan.env) == {
        b"HQ_RESOURCE_REQUEST_cpus": b"2 compact!",
        b"HQ_RESOURCE_VALUES_cpus": b"4,5",
        b"HQ_CPUS": b"4,5",
        b"HQ_RESOURCE_REQUEST_gpus_nvidia": b"1.5 compact",
        b"HQ_RESOURCE_VALUES_gpus_nvidia": b"1,0",
        b"CUDA_VISIBLE_DEVICES": b"1,0",
        b"CUDA_DEVICE_ORDER": b"PCI_BUS_ID",
        b"HQ_RESOURCE_REQUEST_mem": b"all",
    }


def test_resources_without_identity_have_no_values_and_hide_no_device():
    needs = (Need(CPUS, UNIT), Need("gpus/amd", UNIT), Need("gpus/nvidia", UNIT), Need("mem", 1))
    plan = lane(
        Share(CPUS, UNIT, ("7",)),
        Share("gpus/amd", UNIT, ("GPU-ab",)),
        Share("gpus/nvidia", UNIT),
        Share("mem", 1),
        needs=needs,
    )
    assert dict(plan.env) == {
        b"HQ_RESOURCE_REQUEST_cpus": b"1 compact",
        b"HQ_RESOURCE_VALUES_cpus": b"7",
        b"HQ_CPUS": b"7",
        b"HQ_RESOURCE_REQUEST_gpus_amd": b"1 compact",
        b"HQ_RESOURCE_VALUES_gpus_amd": b"GPU-ab",
        b"ROCR_VISIBLE_DEVICES": b"GPU-ab",
        b"HQ_RESOURCE_REQUEST_gpus_nvidia": b"1 compact",
        b"HQ_RESOURCE_REQUEST_mem": b"0.0001 compact",
    }


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy.COMPACT, b"3 compact"),
        (Policy.FORCE_COMPACT, b"3 compact!"),
        (Policy.TIGHT, b"3 tight"),
        (Policy.FORCE_TIGHT, b"3 tight!"),
        (Policy.SCATTER, b"3 scatter"),
    ],
)
def test_the_request_is_told_as_it_is_shown_elsewhere(policy: Policy, text: bytes):
    plan = lane(Share(CPUS, 3 * UNIT, ("4", "9", "5")), needs=(Need(CPUS, 3 * UNIT, policy),))
    env = dict(plan.env)
    assert env[b"HQ_RESOURCE_REQUEST_cpus"] == text
    assert env[b"HQ_CPUS"] == b"4,9,5"
    assert b"HQ_RESOURCE_VARIANT" not in env


def test_all_cpus_are_counted_for_openmp():
    plan = lane(Share(CPUS, 2 * UNIT, ("0", "1")), needs=(Need(CPUS, 0, Policy.ALL),))
    assert dict(plan.env)[b"HQ_RESOURCE_REQUEST_cpus"] == b"all"
    assert (b"OMP_NUM_THREADS", b"2") in plan.user_wins


def test_what_else_is_not_a_letter_or_digit_becomes_an_underscore():
    plan = lane(Share("a/b/c9", UNIT, ("x",)), needs=(Need("a/b/c9", UNIT),))
    assert dict(plan.env)[b"HQ_RESOURCE_VALUES_a_b_c9"] == b"x"


@pytest.mark.parametrize("pin", [PinMode.TASKSET, PinMode.OMP])
def test_a_part_of_a_cpu_can_be_pinned_to(pin: PinMode):
    half = lane(Share(CPUS, UNIT // 2, ("5",), UNIT // 2), pin=pin)
    omp = (b"OMP_PLACES", b"{5}") in half.user_wins
    assert omp or half.prefix == (b"taskset", b"-c", b"5")


def test_s2_31_the_variant_is_told_when_there_are_several():
    variants = (*request(Need(CPUS, 8 * UNIT)), *request(Need(CPUS, 4 * UNIT), Need("x", UNIT)))
    claim = Claim((Share(CPUS, 4 * UNIT, tuple("0123")), Share("x", UNIT)))
    env = dict(plan_lane(variants, 1, claim, PinMode.NONE, SITE).env)
    assert env[b"HQ_RESOURCE_VARIANT"] == b"1"
    assert env[b"HQ_RESOURCE_REQUEST_cpus"] == b"4 compact"
    assert b"HQ_RESOURCE_VALUES_x" not in env


def test_s2_22_s2_23_pins():
    cpus = Share(CPUS, 2 * UNIT, ("0", "1"))
    taskset = lane(cpus, pin=PinMode.TASKSET)
    assert taskset.prefix == (b"taskset", b"-c", b"0,1")
    assert (b"HQ_PIN", b"taskset") in taskset.env
    omp = lane(cpus, pin=PinMode.OMP)
    assert omp.prefix == () and (b"HQ_PIN", b"omp") in omp.env
    assert (b"OMP_PLACES", b"{0,1}") in omp.user_wins
    assert (b"OMP_PROC_BIND", b"close") in omp.user_wins
    with pytest.raises(NotPrepared, match=PINNING_FAILED):
        lane(Share("x", UNIT), pin=PinMode.OMP)
