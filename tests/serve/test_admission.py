import pytest

from blitznet.serve.admission import Admission, BusyError
from blitznet.serve.limits import ServeLimits


class Connection:
    def __init__(self) -> None:
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def test_requests_that_arrive_are_limited_until_they_are_parsed() -> None:
    admission = Admission(ServeLimits(max_queue=2, max_images=1))
    first, second = admission.enter(0), admission.enter(0)
    with pytest.raises(BusyError, match="the queue is full: 0 waiting, 2 arriving"):
        admission.enter(0)
    first.received()
    with pytest.raises(BusyError, match="the queue is full: 1 waiting, 1 arriving"):
        admission.enter(1)
    third = admission.enter(0)
    for ticket in (first, second, third):
        ticket.close()
        ticket.close()
    assert admission.receiving == 0
    assert (admission.idle, admission.entered) == (True, 3)


def test_large_bodies_are_limited_and_small_ones_get_in() -> None:
    admission = Admission(ServeLimits(max_queue=4, max_images=1, max_pending_bytes=400))  # each may have 100
    tickets = [admission.enter(0) for _ in range(3)]
    tickets[0].set_body(350)
    tickets[1].set_body(250)
    with pytest.raises(BusyError, match="too many large requests"):
        tickets[2].set_body(101)
    tickets[2].set_body(100)
    assert admission.body_bytes == 400
    assert not admission.idle
    tickets[0].close()
    tickets[2].set_body(350)
    for ticket in tickets:
        ticket.close()
    assert admission.pending_bytes == 0


def test_responses_that_wait_keep_out_requests() -> None:
    admission = Admission(ServeLimits(max_pending_bytes=100))
    with admission.enter(0) as ticket, admission.enter(0) as second:
        ticket.set_response(150)
        with pytest.raises(BusyError, match="too many responses"):
            admission.enter(0)
        with pytest.raises(BusyError, match="too many responses"):
            second.set_response(51)
    assert admission.response_bytes == 0
    admission.enter(0).close()


def test_the_longest_idle_connection_is_closed_for_a_new_one() -> None:
    admission = Admission(ServeLimits(max_connections=2))
    first, second, third, fourth = (Connection() for _ in range(4))
    assert admission.connect(first)
    assert admission.connect(second)
    admission.set_idle(first, False)
    assert admission.connect(third)
    assert [connection.evicted for connection in (first, second, third)] == [False, True, False]
    admission.set_idle(third, False)
    assert not admission.connect(fourth)
    admission.set_idle(first, True)
    assert admission.connect(fourth)
    assert first.evicted
    admission.set_idle(first, True)  # closed already
    assert admission.connections == 2


def test_few_refused_connections_linger() -> None:
    admission = Admission(ServeLimits())
    connections = [Connection() for _ in range(17)]
    assert [admission.linger(connection) for connection in connections] == [True] * 16 + [False]
    admission.disconnect(connections[0])
    assert admission.linger(connections[16])


def test_half_of_the_connections_may_be_websockets() -> None:
    admission = Admission(ServeLimits(), max_connections=4)
    admission.open_stream()
    admission.open_stream()
    with pytest.raises(BusyError, match="too many WebSockets"):
        admission.open_stream()
    admission.close_stream()
    admission.open_stream()
