"""What is simulated: work, nodes and faults, as data."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final

from simulated_client import Mix
from simulation import Cluster, Nodes, Scenario
from simulation_faults import Faults

from hqtrio.messages import client as ask
from hqtrio.messages.client import Selector, Which
from hqtrio.model.job import ArraySpec, JobHead
from hqtrio.model.worker import OnServerLost

ANY_POLICY: Final = tuple(OnServerLost)
MIXED_KINDS: Final = (
    ("ok", 10.0),
    ("flaky", 2.0),
    ("fail", 0.5),
    ("stubborn", 1.0),
    ("tidy", 1.0),
    ("oom", 0.3),
    ("noprep", 0.3),
    ("nostart", 0.3),
)


def given(*jobs: int) -> Selector:
    return Selector(Which.GIVEN, tuple((job, 1, 1) for job in jobs))


# --- stories


def one_array(tasks: int):
    """One client submits one array and watches it."""

    def story(cluster: Cluster) -> None:
        author, customer = cluster.author(), cluster.customer()
        submit = author.submit(JobHead("array"), arrays=(author.array(tasks),))
        customer.submit(submit, customer.watch)

    return story


def everything(submits: int, tasks: int, cancels: int = 0):
    """Several clients do all that clients can do, spread over the time of the faults."""

    def story(cluster: Cluster) -> None:
        for _ in range(3):
            cluster.customer()
        span_s = max(cluster.scenario.faults.until_s, 10.0)
        acts = [*[_submit] * submits, *[_cancel] * cancels, *[_look] * (submits // 2)]
        acts += [_open_job] * (submits // 6)
        for act in acts:
            delay_s = cluster.rng.uniform(0, span_s)
            cluster.timeline.after(delay_s, act, cluster, tasks)

    return story


def submits(count: int, tasks: int):
    """Clients submit and watch, and let everything run."""

    def story(cluster: Cluster) -> None:
        cluster.customer()
        for _ in range(count):
            delay_s = cluster.rng.uniform(0, cluster.scenario.faults.until_s)
            cluster.timeline.after(delay_s, _submit, cluster, tasks)

    return story


def _submit(cluster: Cluster, tasks: int) -> None:
    rng, author = cluster.rng, cluster.author()
    customer = rng.choice(cluster.customers)
    max_fails = rng.choice((None, None, 0, 5))
    head = JobHead("job", max_fails)
    count, parts = rng.randrange(1, tasks), 0
    match rng.randrange(4):
        case 0:
            what = author.submit(head, arrays=(author.array(count),))
        case 1:
            sizes = [max(1, count // rng.randrange(1, 8)) for _ in range(rng.randrange(2, 6))]
            what = author.submit(head, arrays=author.groups(sizes))
        case 2:
            spec = _numbered(author.array(count), rng.randrange(1000), rng.randrange(1, 4))
            what = author.submit(head, arrays=(spec,))
        case _:
            parts = rng.choice((0, 0, 3))
            what = author.submit(head, graph=author.graph(count, rng.randrange(1, 20)))

    def submitted(job: int) -> None:
        cluster.jobs.append(job)
        if rng.random() < 0.5:
            customer.watch(job)

    customer.submit(what, submitted, parts=parts)


def _numbered(spec: ArraySpec, first: int, step: int) -> ArraySpec:
    """The same tasks under numbers with gaps."""
    ranges = ((first, spec.count, step),)
    return ArraySpec(
        spec.body,
        spec.count,
        ranges,
        spec.variants,
        spec.settings,
        spec.entries,
        spec.entry_ends,
    )


def _open_job(cluster: Cluster, tasks: int) -> None:
    """An open job gets more tasks now and then, some of which need earlier ones."""
    rng, customer = cluster.rng, cluster.rng.choice(cluster.customers)

    def opened(answer: object) -> None:
        if not isinstance(answer, ask.Submitted):
            return
        job = answer.job
        cluster.jobs.append(job)
        firsts = list(accumulate([rng.randrange(1, 30) for _ in range(4)], initial=0))
        for first, end in pairwise(firsts):
            cluster.timeline.after(rng.uniform(0, 5), more, job, first, end - first)
        if rng.random() < 0.5:
            cluster.timeline.after(
                rng.uniform(0, 8), lambda: customer.call(ask.CloseJobs(given(job)))
            )

    def more(job: int, first: int, count: int) -> None:
        author = cluster.author()
        graph = author.graph(count, max(1, count // 3), first)
        customer.submit(author.submit(None, job, graph=graph), lambda job: None)

    customer.call(ask.OpenJob(JobHead("open")), opened)


def _cancel(cluster: Cluster, _: int) -> None:
    rng, customer = cluster.rng, cluster.rng.choice(cluster.customers)
    if cluster.jobs and rng.random() < 0.9:
        jobs = given(*sorted(rng.sample(cluster.jobs, min(len(cluster.jobs), rng.randrange(1, 4)))))
        customer.call(ask.CancelJobs(jobs, "enough"))
    elif rng.random() < 0.3:
        customer.call(ask.CancelJobs(Selector(Which.ALL)))
    else:
        customer.call(ask.ForgetJobs(Selector(Which.ALL), (2, 3, 4, 5)))


def _look(cluster: Cluster, _: int) -> None:
    rng, customer = cluster.rng, cluster.rng.choice(cluster.customers)
    every = Selector(Which.ALL)
    job = rng.choice(cluster.jobs) if cluster.jobs else 1
    requests = (ask.ListJobs(every), ask.ListWorkers(every), ask.JobInfo(job), ask.ListTasks(job))
    customer.call(rng.choice((*requests, ask.WatchWorkers(), ask.StopWorkers(given(1, 3)))))


# --- scenarios


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "crowd",
            Nodes(50),
            one_array(20_000),
            Mix(mean_s=(0.02,)),
            check_every=2000,
        ),
        Scenario(
            "chaos",
            Nodes(8, sockets=(4, 4), gpus=2, policies=ANY_POLICY),
            everything(20, 150, cancels=8),
            Mix(
                kinds=MIXED_KINDS,
                cpus=(1.0, 1.0, 2.0, 0.5, 3.0),
                gpus=0.1,
                variants=0.2,
                time_limit=0.1,
                priorities=(0, 0, 5, -3),
                crash_limits=(0, 1, 5, -1),
            ),
            Faults(
                until_s=40.0,
                death=5.0,
                power=10.0,
                suspension=6.0,
                stop=12.0,
                termination=12.0,
                launcher_death=4.0,
                cut=4.0,
                clog=3.0,
                join=1.6,
                stall=8.0,
                session=3.0,
            ),
            check_every=10,
        ),
        Scenario(
            "graphs",
            Nodes(6),
            everything(20, 300),
            Mix(
                kinds=(("ok", 30.0), ("flaky", 1.0)),
                mean_s=(0.005, 0.05, 0.4),
                cpus=(1.0, 2.0),
                priorities=(0, 1, 2),
            ),
            Faults(until_s=20.0, death=6.0, launcher_death=6.0, cut=5.0, join=3.0),
            check_every=60,
        ),
        Scenario(
            "cancel_storm",
            Nodes(8, sockets=(16,)),
            everything(30, 500, cancels=60),
            Mix(
                kinds=(("ok", 5.0), ("stubborn", 1.0), ("tidy", 1.0)),
                mean_s=(0.002, 0.02, 0.5, 20.0),
                cpus=(1.0, 4.0),
                priorities=(0, 3),
            ),
            Faults(until_s=20.0, suspension=8.0, launcher_death=8.0, clog=4.0),
            check_every=20,
        ),
        Scenario(
            "short_lived_workers",
            Nodes(
                6,
                policies=ANY_POLICY,
                time_limits_s=(5.0, 12.0, 30.0, None),
                idle_timeouts_s=(1.0, 4.0, None),
            ),
            everything(20, 200, cancels=4),
            Mix(cpus=(1.0, 2.0, 0.0), time_request_s=4.0, priorities=(0, 0, 2)),
            Faults(until_s=40.0, join=2.5, stop=9.0, cut=15.0),
            check_every=10,
        ),
        Scenario(
            "another_server",
            Nodes(5, policies=(OnServerLost.RECONNECT, OnServerLost.FINISH_RUNNING)),
            everything(30, 120, cancels=4),
            Mix(kinds=MIXED_KINDS, cpus=(1.0, 2.0)),
            Faults(until_s=40.0, rebirth=12.0, cut=6.0, join=4.0, suspension=10.0),
            check_every=10,
        ),
        Scenario(
            "lost_connections",
            Nodes(5, sockets=(4, 4)),
            submits(25, 150),
            Mix(mean_s=(0.02, 0.3, 3.0), cpus=(1.0, 2.0, 0.5), priorities=(0, 0, 4)),
            Faults(until_s=30.0, cut=0.7, clog=4.0, session=6.0),
            check_every=10,
        ),
        Scenario(
            "killed_server",
            Nodes(5, sockets=(4, 4)),
            submits(25, 150),
            Mix(mean_s=(0.02, 0.3, 3.0), cpus=(1.0, 2.0, 0.5), priorities=(0, 0, 4)),
            Faults(until_s=30.0, restart=4.0, cut=3.0),
            check_every=10,
        ),
        Scenario(
            "killed_server_in_chaos",
            Nodes(6, sockets=(4,), policies=ANY_POLICY),
            everything(20, 120, cancels=8),
            Mix(kinds=MIXED_KINDS, cpus=(1.0, 2.0), priorities=(0, 3), crash_limits=(0, 1, 5, -1)),
            Faults(
                until_s=40.0,
                restart=6.0,
                death=8.0,
                power=15.0,
                suspension=9.0,
                launcher_death=8.0,
                cut=4.0,
                clog=5.0,
                join=2.0,
                stall=9.0,
            ),
            check_every=10,
        ),
        Scenario("zero_cost", Nodes(4, zero_cost=True), one_array(100_000), check_every=200),
    )
}
