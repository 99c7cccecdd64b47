"""Resource requests: what users may write, and what may stand together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.errors import InputError
from hqtrio.model.requests import (
    add_default_cpus,
    format_need,
    format_request,
    make_request,
    make_weight,
    parse_named_need,
    parse_need,
    validate_variants,
)
from hqtrio.model.resources import ONE_CPU, UNIT, Need, Policy, Request
from hqtrio.units import MAX_AMOUNT


@pytest.mark.parametrize(
    ("text", "amount", "policy", "shown"),
    [
        ("3", 3 * UNIT, Policy.COMPACT, "3 compact"),
        ("2 compact", 2 * UNIT, Policy.COMPACT, "2 compact"),
        ("4 compact!", 4 * UNIT, Policy.FORCE_COMPACT, "4 compact!"),
        ("4compact!", 4 * UNIT, Policy.FORCE_COMPACT, "4 compact!"),
        ("2 tight", 2 * UNIT, Policy.TIGHT, "2 tight"),
        ("2 tight!", 2 * UNIT, Policy.FORCE_TIGHT, "2 tight!"),
        (" 0.5  scatter ", UNIT // 2, Policy.SCATTER, "0.5 scatter"),
        ("5_000", 5000 * UNIT, Policy.COMPACT, "5000 compact"),
        ("all", 0, Policy.ALL, "all"),
        (" all ", 0, Policy.ALL, "all"),
    ],
)
def test_a_need_is_an_amount_and_a_policy(text, amount, policy, shown):
    need = parse_need("cpus", text)
    assert need == Need("cpus", amount, policy)
    assert format_need(need) == shown


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("0", "Zero resources cannot be requested"),
        ("0.0 scatter", "Zero resources cannot be requested"),
        ("0.00001", "Resource precision exceeded"),
        ("4294967296", "Cannot parse as 4-byte unsigned integer"),
        ("", "Unexpected end of input"),
        ("compact", "Unexpected token"),
        ("2 loose", "expected a policy"),
        ("2 all", "expected a policy"),
        ("2 compact !", "expected a policy"),
        ("2 Compact", "expected a policy"),
        ("-1", "Unexpected token"),
        ("1\n2", "Unexpected token"),
    ],
)
def test_a_bad_need_gets_one_line(text, fragment):
    with pytest.raises(InputError, match=fragment) as caught:
        parse_need("cpus", text)
    assert "\n" not in str(caught.value)


def test_a_named_need_allows_blanks_around_the_equals_sign():
    assert parse_named_need("gpus/nvidia = 0.5") == Need("gpus/nvidia", UNIT // 2)
    assert parse_named_need("mem=all") == Need("mem", 0, Policy.ALL)


@pytest.mark.parametrize("text", ["cpus", "=2", "a_b=1", "a-b=1", "1a=1", "é=1", "a b=1", "/a=1"])
def test_a_bad_name_is_refused(text):
    with pytest.raises(InputError):
        parse_named_need(text)


def test_needs_are_sorted_with_cpus_first():
    needs = [parse_need(name, "1") for name in ("mem", "cpus", "aa")]
    assert [need.resource for need in make_request(needs).needs] == ["cpus", "aa", "mem"]


def test_one_resource_twice_is_refused():
    with pytest.raises(InputError, match="Resource 'mem' defined more than once"):
        make_request([parse_need("mem", "1"), parse_need("cpus", "1"), parse_need("mem", "2")])


def test_a_cpu_is_added_unless_cpus_or_nodes_are_mentioned():
    mem = parse_need("mem", "1")
    assert add_default_cpus([mem]) == [Need("cpus", UNIT), mem]
    assert add_default_cpus([Need("cpus", 2 * UNIT)]) == [Need("cpus", 2 * UNIT)]
    assert add_default_cpus([], nodes=2) == []


@pytest.mark.parametrize(("weight", "amount"), [(1, UNIT), (0.5, 5000), (2.00004, 20_000)])
def test_a_weight_is_a_rounded_amount(weight, amount):
    assert make_weight(weight) == amount


@pytest.mark.parametrize("weight", [0, -1, 0.00001, float("nan"), float("inf"), 1e20])
def test_a_weight_must_be_positive_even_when_rounded(weight):
    with pytest.raises(InputError, match="Resource weight has to be positive number"):
        make_weight(weight)


ONE_NODE = Request(nodes=1)


@pytest.mark.parametrize(
    ("variants", "fragment"),
    [
        ((), "Resource are empty"),
        (ONE_CPU * 33, "Too many resource variants"),
        ((ONE_CPU[0], ONE_NODE), "Resources mixes multi-node and non-multi-node requests"),
        ((Request(),), "Resource request is empty"),
        ((Request((Need("cpus", 0),)),), "Zero resources cannot be requested"),
        ((Request((Need("cpus", 1, Policy.ALL),)),), "Zero resources cannot be requested"),
        ((Request((Need("cpus", MAX_AMOUNT + 1),)),), "out of range"),
        ((Request((Need("c_pus", 1),)),), "expected a resource name"),
        ((Request((Need("mem", 1), Need("cpus", 1))),), "must be sorted"),
        ((Request((Need("mem", 1), Need("mem", 1))),), "defined more than once"),
        ((Request((Need("mem", 1),), weight=0),), "has to be positive"),
        ((Request((Need("mem", 1),), time_s=-1.0),), "at least 0 s"),
        ((Request((Need("mem", 1),), time_s=float("nan")),), "at least 0 s"),
        ((Request(nodes=-1),), "number of nodes"),
    ],
)
def test_variants_that_cannot_stand_are_refused(variants, fragment):
    with pytest.raises(InputError, match=fragment):
        validate_variants(variants)


def test_usual_variants_stand():
    validate_variants(ONE_CPU)
    validate_variants(ONE_CPU * 32)
    validate_variants((ONE_NODE, Request(nodes=3)))


def test_a_request_is_shown_by_need_or_by_nodes():
    request = make_request([parse_need("mem", "all"), parse_need("cpus", "2")])
    assert format_request(request) == ["cpus: 2 compact", "mem: all"]
    assert format_request(Request(nodes=3)) == ["nodes: 3"]


@given(
    st.integers(1, MAX_AMOUNT),
    st.sampled_from([policy for policy in Policy if policy is not Policy.ALL]),
)
def test_a_shown_need_reads_back(amount, policy):
    need = Need("mem", amount, policy)
    assert parse_need("mem", format_need(need)) == need


@given(st.text(max_size=20))
def test_any_text_is_a_need_or_an_input_error(text):
    for read in (lambda: parse_need("cpus", text), lambda: parse_named_need(text)):
        try:
            read()
        except InputError as error:
            if "\n" in str(error):
                pytest.fail(str(error))
