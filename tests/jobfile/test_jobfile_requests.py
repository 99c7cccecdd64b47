"""Requests of both dialects: amounts, policies, nodes, times, weights, variants, pins."""

from __future__ import annotations

import pytest

from hqtrio.errors import InputError
from hqtrio.jobfile import load_jobfile
from hqtrio.model.resources import CPUS, UNIT, Need, Policy, Request, Variants
from hqtrio.model.task import PinMode

CPU = Need(CPUS, UNIT)


def load(text: str, name: str = "job.yaml"):
    return load_jobfile(text.encode(), filename=name, submit_dir="/w", key=b"")


def compatible(request: str, more: str = "") -> Variants:
    """The variants of `request:` in a HyperQueue job file."""
    text = f"array: {{ids: 1, command: [a], request: {request}{more}}}"
    return load(text).arrays[0].variants


def native(request: str) -> Variants:
    return load(f"tasks: {{t: {{command: a, request: {request}}}}}").arrays[0].variants


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2 * UNIT),
        ("0.1", 1000),
        ("2.5", 25_000),
        ("0.0001", 1),
        ("0.00001", 1),
        ("0.12341", 1235),
        ("0.3000000000000001", 3001),
        ("1e-3", 10),
        ("1e3", 1000 * UNIT),
        ("0x10", 16 * UNIT),
        ("4294967295", 4294967295 * UNIT),
        ("'0.1'", 1000),
        ("'5_000'", 5000 * UNIT),
    ],
)
def test_numbers_of_the_compatible_dialect_mean_what_is_written(text: str, amount: int):
    assert compatible(f"[{{resources: {{gpus: {text}}}}}]") == (Request((Need("gpus", amount),)),)


def test_toml_numbers_mean_the_same():
    text = """
        [array]
        ids = "1"
        command = ["a"]
        [[array.request]]
        resources = {cpus = 0.1, mem = 7, "gpus/amd" = "1.5 tight!", x = 0.12341}
        time_request = "1h 30m"
        weight = 0.25
    """
    (request,) = load(text, "job.toml").arrays[0].variants
    assert request == Request(
        (
            Need(CPUS, 1000),
            Need("gpus/amd", 15_000, Policy.FORCE_TIGHT),
            Need("mem", 7 * UNIT),
            Need("x", 1235),
        ),
        0,
        5400.0,
        2500,
    )


@pytest.mark.parametrize("dialect", [compatible, native])
@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("4 compact", Need(CPUS, 4 * UNIT)),
        ("4compact!", Need(CPUS, 4 * UNIT, Policy.FORCE_COMPACT)),
        ("0.5 tight", Need(CPUS, 5000, Policy.TIGHT)),
        ("'4 tight!'", Need(CPUS, 4 * UNIT, Policy.FORCE_TIGHT)),
        ("8 scatter", Need(CPUS, 8 * UNIT, Policy.SCATTER)),
        ("all", Need(CPUS, 0, Policy.ALL)),
    ],
)
def test_policies(dialect, text: str, need: Need):
    entry = f"{{cpus: {text}}}"
    if dialect is compatible:
        entry = f"[{{resources: {entry}}}]"
    assert dialect(entry) == (Request((need,)),)


def test_variants_keep_their_order_and_each_has_its_own_time_and_weight():
    expected = (
        Request((CPU, Need("gpus", UNIT)), 0, 90.0),
        Request((Need(CPUS, 4 * UNIT),), 0, 0.0, 5000),
    )
    assert native("[{gpus: 1, time: 1:30}, {cpus: 4, weight: 0.5}]") == expected
    variants = (
        "[{resources: {cpus: 1, gpus: 1}, time_request: 90s}, {resources: {cpus: 4}, weight: 0.5}]"
    )
    assert compatible(variants) == expected


def test_tasks_on_several_nodes():
    three = Request(nodes=3, time_s=60.0)
    assert native("{nodes: 3, time: 1m}") == (three,)
    assert native("[{nodes: 3, time: 1m}, {nodes: 2}]") == (three, Request(nodes=2))
    assert compatible("[{n_nodes: 3, time_request: 1m}]") == (three,)
    with_needs = Request((Need(CPUS, 4 * UNIT),), 2)
    assert native("{nodes: 2, cpus: 4}") == (with_needs,)
    assert compatible("[{n_nodes: 2, resources: {cpus: 4}}]") == (with_needs,)


@pytest.mark.parametrize(
    ("request_text", "variants"),
    [
        ("{mem: 5}", (Request((CPU, Need("mem", 5 * UNIT))),)),
        ("{}", (Request((CPU,)),)),
        ("{cpus: 0, mem: 5}", (Request((Need("mem", 5 * UNIT),)),)),
        ("{nodes: 0}", (Request((CPU,)),)),
    ],
)
def test_a_cpu_is_added_in_the_native_dialect_only(request_text: str, variants: Variants):
    assert native(request_text) == variants
    assert compatible("[{resources: {mem: 5}}]") == (Request((Need("mem", 5 * UNIT),)),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[{resources: {a: 0}}]", "[0].resources.a: Zero resources cannot be requested"),
        ("[{resources: {a: 0.0}}]", "[0].resources.a: Zero resources cannot be requested"),
        ("[{resources: {a: -1}}]", "[0].resources.a: expected a number from 0 to 4294967295"),
        ("[{resources: {a: -0.5}}]", "[0].resources.a: '-0.5' is not an amount"),
        ("[{resources: {a: '0.12345'}}]", "[0].resources.a: Resource precision exceeded"),
        ("[{resources: {a: 4294967296}}]", "[0].resources.a: expected a number from 0 to"),
        ("[{resources: {a: 1 fair}}]", "[0].resources.a: Unexpected token 'fair'"),
        ("[{resources: {a: true}}]", "[0].resources.a: Deserialization error: expected text"),
        ("[{resources: {a-b: 1}}]", "[0].resources.a-b: Unexpected token 'a-b'"),
        ("[{n_nodes: -1}]", "[0].n_nodes: expected a number from 0 to 4294967295"),
        ("[{n_nodes: 1, time_request: '1:30'}]", "[0].time_request: '1:30' is not a duration"),
        ("[{n_nodes: 1, weight: 0.00004}]", "[0].weight: Resource weight has to be positive"),
        ("[{n_nodes: 1, weight: -1}]", "[0].weight: Resource weight has to be positive number"),
        ("[{}]", ": Resource request is empty"),
        ("[]", ": Resource are empty"),
        ("[{n_nodes: 1}, {resources: {a: 1}}]", ": Resources mixes multi-node and non-multi-node"),
    ],
)
def test_a_bad_request_is_one_problem(text: str, problem: str):
    with pytest.raises(InputError) as refusal:
        compatible(text)
    (line,) = str(refusal.value).splitlines()
    assert f"array.request{problem}" in line


@pytest.mark.parametrize(("key", "name"), [("n_nodes: 2", "nodes"), ("time_request: 1m", "time")])
def test_keys_of_the_other_dialect_are_no_resources(key: str, name: str):
    with pytest.raises(InputError, match=f"here it is called `{name}`"):
        native(f"{{cpus: 1, {key}}}")


@pytest.mark.parametrize(
    ("text", "pin"),
    [("taskset", PinMode.TASKSET), ("omp", PinMode.OMP), ("none", PinMode.NONE)],
)
def test_pins(text: str, pin: PinMode):
    native_job = load(f"tasks: {{t: {{command: a, pin: {text}}}}}")
    compatible_job = load(f"array: {{ids: 1, command: [a], pin: {text}}}")
    assert native_job.arrays[0].body.pin is compatible_job.arrays[0].body.pin is pin
