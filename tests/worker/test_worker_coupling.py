"""`--coupling`: which links the text means, and what is said of text that means none."""

from __future__ import annotations

import pytest

from hqtrio.errors import InputError
from hqtrio.model.resources import Link
from hqtrio.worker.coupling import parse_coupling
from hqtrio.worker.definitions import compose, parse_cpus, parse_resource

# Sorted by name: cpus is 0, ddd 1, foo 2, mem 3, one 4.
POOLS = compose(
    map(parse_resource, ["foo=4x2", "mem=sum(5)", "one=[1,2]", "ddd=[[a],[b],[c,d]]"]),
    parse_cpus("4x3"),
    [],
).pools


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("cpus[0]:foo[1]", [Link(0, 0, 2, 1, 256)]),
        ("foo[1]:cpus[0]", [Link(0, 0, 2, 1, 256)]),
        (" cpus [ 0 ] : foo [ 1 ] = 7 ", [Link(0, 0, 2, 1, 7)]),
        ("foo[3]:ddd[2]=65535, cpus[1]:ddd[0]=1", [Link(0, 1, 1, 0, 1), Link(1, 2, 2, 3, 65535)]),
        ("cpus[1]:foo[1],cpus[1]:foo[0]", [Link(0, 1, 2, 0), Link(0, 1, 2, 1)]),
        # The groups of one resource among themselves: the lower one comes first.
        ("cpus[3]:cpus[1]=9,cpus[0]:cpus[2]", [Link(0, 0, 0, 2), Link(0, 1, 0, 3, 9)]),
    ],
)
def test_links_come_in_order_with_the_earlier_group_first(text: str, links: list[Link]):
    assert parse_coupling(text, POOLS) == tuple(links)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpus[0]", "Missing ':' in 'cpus[0]'"),
        ("cpus[0]:foo[0],", "Missing ':' in ''"),
        ("cpus[0]foo[0]", "Missing ':'"),
        ("cpus:foo[0]", "Missing '[' in 'cpus'"),
        ("cpus[0]:", "Missing '[' in ''"),
        ("cpus[0:foo[0]", "Missing ']' in 'cpus[0'"),
        ("cpus[0]:foo[0", "Missing ']' in 'foo[0'"),
        ("cpus[0]x:foo[0]", "Unexpected token 'x' in 'cpus[0]x'"),
        ("cpus[0]:foo[0]:ddd[0]", "Unexpected token ':ddd[0]' in 'foo[0]:ddd[0]'"),
        ("cpus[]:foo[0]", "Invalid group index:  "),
        ("cpus[x]:foo[0]", "Invalid group index: x"),
        ("cpus[-1]:foo[0]", "Invalid group index: -1"),
        ("cpus[256]:foo[0]", "Invalid group index: 256"),
        ("cpus[0]:foo[9999999999]", "Invalid group index: 9999999999"),
        ("cpus[0]:bar[0]", "Resource not found: bar"),
        ("cpus[0]:one[0]", "Resource 'one' has only a single group"),
        ("cpus[0]:mem[0]", "Resource 'mem' has only a single group"),
        ("cpus[4]:foo[0]", "Invalid group id 4 for resource 'cpus'"),
        ("cpus[0]:foo[0]=x", "Invalid weight: x"),
        ("cpus[0]:foo[0]=", "Invalid weight:  "),
        ("cpus[0]:foo[0]=-1", "Invalid weight: -1"),
        ("cpus[0]:foo[0]=1.5", "Invalid weight: 1.5"),
        ("cpus[0]:foo[0]=65536", "Invalid weight: 65536"),
        ("cpus[0]:foo[0]=0", "Invalid weight: 0"),
        ("cpus[0]:foo[0],cpus[0]:foo[0]=2", "Repeated coupling definition"),
        ("cpus[0]:foo[1],foo[1]:cpus[0]", "Repeated coupling definition"),
        ("cpus[0]:cpus[1],cpus[1]:cpus[0]", "Repeated coupling definition"),
        ("cpus[1]:cpus[1]", "a group cannot be coupled with itself"),
    ],
)
def test_what_is_no_coupling_is_refused_in_one_line(text: str, words: str):
    with pytest.raises(InputError) as refusal:
        parse_coupling(text, POOLS)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_groups_are_those_that_remain_without_hyper_threads():
    siblings = {0: "0,2", 2: "0,2", 1: "1,3", 3: "1,3"}
    cpus = parse_cpus("[[0],[2],[1,3]]")
    link = "cpus[0]:cpus[1]"
    assert compose([], cpus, [], coupling=link).coupling == (Link(0, 0, 0, 1),)
    pruned = compose([], cpus, [], siblings=siblings, coupling=link)
    assert pruned.pools[0].groups == (("0",), ("1",))
    with pytest.raises(InputError, match="Invalid group id 2 for resource 'cpus'"):
        compose([], cpus, [], siblings=siblings, coupling="cpus[0]:cpus[2]")


def test_a_worker_refuses_more_links_than_any_server_takes():
    links = [f"cpus[{i}]:x[{j}]" for i in range(17) for j in range(17)]
    with pytest.raises(InputError, match="at most 256 coupling links, got 289"):
        compose([parse_resource("x=17x1")], parse_cpus("17x1"), [], coupling=",".join(links))
