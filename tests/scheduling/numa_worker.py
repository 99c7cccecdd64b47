"""A worker's pools as the tests of allocation policies see them."""

from hqtrio.model.resources import POLICY_TEXT, UNIT, Descriptor, Link, Need, Policy, Pool, Request
from hqtrio.scheduling.pools import Layout, Pools
from hqtrio.units import parse_amount

POLICIES = {text: policy for policy, text in POLICY_TEXT.items()}


def need(resource, text):
    """`6 tight`, `2.5` or `all` of a resource."""
    if text == "all":
        return Need(resource, 0, Policy.ALL)
    amount, _, policy = text.partition(" ")
    return Need(resource, parse_amount(amount), POLICIES[policy or "compact"])


def request(**needs):
    return Request(tuple(need(resource, text) for resource, text in needs.items()))


class NumaWorker:
    """One worker; a pool is given by the sizes of its groups ("4|4|4") or as "sum 2.5".

    Labels are numbers, counted through the groups.
    """

    def __init__(self, coupling=(), **pools):
        names = sorted(pools)
        self.group_of = {}
        described = []
        for name in names:
            if pools[name].startswith("sum "):
                described.append(Pool(name, (), parse_amount(pools[name][4:])))
                continue
            groups, at = [], 0
            for number, size in enumerate(map(int, pools[name].split("|"))):
                labels = tuple(str(label) for label in range(at, at + size))
                self.group_of.update(((name, label), number) for label in labels)
                groups.append(labels)
                at += size
            described.append(Pool(name, tuple(groups), at * UNIT))
        links = tuple(
            Link(names.index(one), i, names.index(two), j, weight)
            for one, i, two, j, weight in coupling
        )
        self.pools = Pools(Layout(Descriptor(tuple(described), links)))
        self.held = []

    def capable(self, **needs):
        return self.pools.capable(request(**needs))

    def run(self, **needs):
        """Start a task; the task, or None if it has to wait."""
        asked = request(**needs)
        taken = self.pools.take(asked)
        task = taken and Task(self, asked, taken)
        if task:
            self.held.append(task)
        self.check()
        return task

    def end(self, *tasks):
        for task in tasks:
            self.held.remove(task)
            self.pools.release(task.request, task.taken)
            self.check()

    def free(self, resource):
        return self.pools.by_name[resource].free / UNIT

    def snapshot(self):
        """Everything that the pools know of themselves."""
        return {
            name: (pool.free, pool.pool.groups and (pool._whole, dict(pool._splits)))
            for name, pool in self.pools.by_name.items()
        }

    def check(self):
        for name, pool in self.pools.by_name.items():  # I01
            pool.check(
                [
                    taken
                    for task in self.held
                    for asked, taken in zip(task.request.needs, task.taken, strict=True)
                    if asked.resource == name
                ]
            )


class Task:
    """What one running task holds."""

    def __init__(self, worker, asked, taken):
        self.worker = worker
        self.request = asked
        self.taken = taken
        claim = worker.pools.claim(asked, taken)
        self.shares = {share.resource: share for share in claim.shares}

    def labels(self, resource="cpus"):
        return list(self.shares[resource].labels)

    def partial(self, resource="cpus"):
        """The label that is used in part."""
        share = self.shares[resource]
        assert share.fraction
        return share.labels[-1]

    def groups(self, resource="cpus"):
        """The groups that the labels are from, ascending."""
        group_of = self.worker.group_of
        return sorted({group_of[resource, label] for label in self.labels(resource)})

    def spread(self, resource="cpus"):
        """Labels (a partly used one included) per used group, by ascending group."""
        found = [self.worker.group_of[resource, label] for label in self.labels(resource)]
        return [found.count(group) for group in self.groups(resource)]


def run_until_all_ended(worker, requests):
    """First come, first served; how many ran together at most."""
    waiting, running, most = list(requests), [], 0
    while waiting or running:
        for needs in list(waiting):
            task = worker.run(**needs)
            if task:
                running.append(task)
                waiting.remove(needs)
        assert running
        most = max(most, len(running))
        worker.end(running.pop(0))
    return most
