"""What gateways say of plain endpoints, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lateen.discovery.health_reports import GRACE_SECONDS, MOST_GATEWAYS, SILENCE_SECONDS, HealthReports, Reporter
from lateen.model.health import HealthTarget
from lateen.model.names import Hostname

ONE = HealthTarget(Hostname("web.internal"), "tcp", "192.0.2.1", 80)
TWO = ONE._replace(address="192.0.2.2")
PATIENCE = 5.0


def says(reports: HealthReports, proxy: str, now: float, *, resumed: bool = False, **health: bool) -> None:
    """A gateway opens a stream, is asked about both, and reports at once."""
    reporter = reports.open(proxy)
    reports.ask(reporter, {ONE: PATIENCE, TWO: PATIENCE}, now)
    named = {"one": ONE, "two": TWO}
    reports.report(reporter, {named[name]: healthy for name, healthy in health.items()}, now, resumed=resumed)


def test_an_endpoint_is_sick_when_every_gateway_that_has_an_opinion_says_so() -> None:
    reports = HealthReports()
    says(reports, "east", 0, resumed=True, one=False, two=True)
    assert reports.sick == {ONE}

    says(reports, "west", 0, one=True, two=True)

    assert reports.sick == frozenset()


def test_a_fresh_envoys_word_that_one_is_sick_counts_once_it_had_the_time_to_find_out() -> None:
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: PATIENCE}, 0)
    reports.report(reporter, {ONE: False}, PATIENCE - 0.1, resumed=False)
    assert not reports.sick

    reports.report(reporter, {ONE: False}, PATIENCE, resumed=False)

    assert reports.sick == {ONE}


def test_what_it_called_healthy_before_is_sick_at_once() -> None:
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: PATIENCE}, 0)
    reports.report(reporter, {ONE: True}, 1, resumed=False)

    reports.report(reporter, {ONE: False}, 2, resumed=False)

    assert reports.sick == {ONE}


def test_an_envoy_that_ran_before_is_believed_about_what_it_was_asked_first_only() -> None:
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: PATIENCE}, 0)
    reports.ask(reporter, {ONE: PATIENCE, TWO: PATIENCE}, 0)

    reports.report(reporter, {ONE: False, TWO: False}, 1, resumed=True)

    assert reports.sick == {ONE}


def test_a_second_envoy_of_a_gateway_does_not_change_what_the_first_one_said_until_it_knows() -> None:
    """Hot restart: the new Envoy calls all unhealthy at first; what the old one still says does not count."""
    reports = HealthReports()
    old = reports.open("east")
    reports.ask(old, {ONE: PATIENCE, TWO: PATIENCE}, 0)
    reports.report(old, {ONE: True, TWO: False}, 10, resumed=False)
    new = reports.open("east")
    reports.ask(new, {ONE: PATIENCE, TWO: PATIENCE}, 20)
    reports.report(new, {ONE: False, TWO: False}, 21, resumed=False)
    reports.report(old, {ONE: False, TWO: True}, 21, resumed=False)
    reports.close(old, 22)
    reports.expire(22 + GRACE_SECONDS)
    assert reports.sick == {TWO}

    reports.report(new, {ONE: True, TWO: True}, 30, resumed=False)

    assert reports.sick == frozenset()


def test_what_a_gateway_said_lasts_for_the_grace_period() -> None:
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: 0}, 0)
    reports.report(reporter, {ONE: False}, 1, resumed=False)
    reports.close(reporter, 10)
    reports.expire(10 + GRACE_SECONDS - 1)
    assert reports.next_deadline() == 10 + GRACE_SECONDS
    assert reports.sick == {ONE}

    reports.expire(10 + GRACE_SECONDS)

    assert reports.sick == frozenset()
    assert reports.next_deadline() is None
    assert not reports.opinions()


def test_where_others_report_a_gateway_that_is_gone_or_silent_has_no_say() -> None:
    """As when a host fails, with a gateway and a server on it. What it says when it is back counts again."""
    for is_gone in (True, False):
        reports = HealthReports()
        reporter = reports.open("east")
        reports.ask(reporter, {ONE: PATIENCE}, 0)
        reports.report(reporter, {ONE: True}, 0, resumed=False)
        west = reports.open("west")
        reports.ask(west, {ONE: 0}, 0)
        reports.report(west, {ONE: False}, 5, resumed=False)
        assert not reports.sick
        if is_gone:
            reports.close(reporter, 6)
        assert reports.next_deadline() == SILENCE_SECONDS
        reports.expire(SILENCE_SECONDS)
        assert reports.sick == {ONE}

        says(reports, "east", 20, one=True)

        assert not reports.sick


def test_a_gateway_that_comes_back_in_time_has_its_say_all_the_while() -> None:
    """Every connection ends some day: that must not leave the say to another gateway that has a bad way."""
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: PATIENCE}, 0)
    reports.report(reporter, {ONE: True}, 0, resumed=False)
    says(reports, "west", 0, resumed=True, one=False)

    reports.close(reporter, 1)
    reports.expire(2)
    new = reports.open("east")
    reports.ask(new, {ONE: PATIENCE}, 3)
    reports.report(new, {ONE: False}, 4, resumed=False)

    assert not reports.sick


def test_what_is_not_asked_any_more_is_not_sick_and_what_was_never_asked_is_not_heard() -> None:
    reports = HealthReports()
    reporter = reports.open("east")
    reports.ask(reporter, {ONE: 0}, 0)
    reports.report(reporter, {ONE: False, TWO: False}, 1, resumed=False)
    assert reports.sick == {ONE}

    reports.ask(reporter, {}, 2)

    assert reports.sick == frozenset()


def test_there_is_room_for_some_gateways_only_and_for_those_that_come_back() -> None:
    reports = HealthReports()
    for number in range(MOST_GATEWAYS):
        reports.close(reports.open(f"edge-{number}.default"), 0)
    assert not reports.admits("more.default")
    assert reports.admits("edge-7.default")

    reports.expire(GRACE_SECONDS)

    assert reports.admits("more.default")


def test_the_set_is_the_same_object_while_nothing_changes() -> None:
    reports = HealthReports()
    says(reports, "east", 0, resumed=True, one=False)
    before = reports.sick

    says(reports, "east", 1, resumed=True, one=False)

    assert reports.sick is before


steps = st.lists(
    st.tuples(st.sampled_from(("open", "report", "close", "expire")), st.sampled_from("ab"), st.booleans()), max_size=40
)


@given(steps)
def test_nothing_is_kept_of_gateways_that_are_gone_for_good(taken: list[tuple[str, str, bool]]) -> None:
    """Whatever happened, after the grace period without streams there are no opinions and nobody is sick."""
    reports, now = HealthReports(), 0.0
    live: dict[str, list[Reporter]] = {}
    for what, proxy, healthy in taken:
        now += 7
        if what == "open":
            live.setdefault(proxy, []).append(reports.open(proxy))
            reports.ask(live[proxy][-1], {ONE: PATIENCE}, now)
        elif what == "report" and live.get(proxy):
            reports.report(live[proxy][-1], {ONE: healthy}, now, resumed=healthy)
        elif what == "close" and live.get(proxy):
            reports.close(live[proxy].pop(0), now)
        else:
            reports.expire(now)
    for reporters in live.values():
        for reporter in reporters:
            reports.close(reporter, now)
    reports.expire(now + GRACE_SECONDS)
    assert not reports.opinions()
    assert not reports.sick
    assert reports.gateways == 0
