"""Of requests that are none, each is counted and few are told."""

from collections.abc import Callable

from registry_proxy.malformed import MalformedRequests


class Window:
    """An event loop's `call_later`, whose time passes when a test says so."""

    def __init__(self) -> None:
        self._ends = list[Callable[[], None]]()
        self.lengths_s = list[float]()

    def later(self, delay_s: float, then: Callable[[], None]) -> None:
        self.lengths_s.append(delay_s)
        self._ends.append(then)

    def passes(self) -> None:
        (end,) = self._ends
        self._ends.clear()
        end()

    @property
    def is_open(self) -> bool:
        return bool(self._ends)


class Scanned:
    def __init__(self) -> None:
        self.window, self.counted, self.lines = Window(), list[int](), list[tuple[str, int, int]]()
        self.requests = MalformedRequests(counted=self.counted.append, told=self._told, later=self.window.later)

    def _told(self, *, client: str, status: int, count: int) -> None:
        self.lines.append((client, status, count))


def test_one_is_told_at_once() -> None:
    scanned = Scanned()
    scanned.requests.note("10.0.0.1", 400)
    assert scanned.lines == [("10.0.0.1", 400, 1)]
    scanned.window.passes()
    scanned.requests.close()
    assert (scanned.lines, scanned.window.is_open) == ([("10.0.0.1", 400, 1)], False)


def test_those_that_follow_are_told_together_and_none_is_left_out() -> None:
    scanned = Scanned()
    for number in range(1000):
        scanned.requests.note(f"10.0.0.{number % 250}", 400 if number % 2 else 431)
    assert len(scanned.lines) == 1
    scanned.window.passes()
    assert scanned.lines[1:] == [("10.0.0.249", 400, 999)]
    scanned.requests.note("10.0.0.7", 431)
    assert len(scanned.lines) == 2, "a line began another window"
    scanned.window.passes()
    assert scanned.lines[2:] == [("10.0.0.7", 431, 1)]
    assert len(scanned.counted) == 1001
    assert set(scanned.window.lengths_s) == {10.0}


def test_after_a_quiet_while_the_next_is_told_at_once_again() -> None:
    scanned = Scanned()
    scanned.requests.note("10.0.0.1", 400)
    scanned.window.passes()
    scanned.requests.note("10.0.0.2", 400)
    assert scanned.lines[1:] == [("10.0.0.2", 400, 1)]


def test_what_waits_is_told_at_the_end() -> None:
    scanned = Scanned()
    for _ in range(3):
        scanned.requests.note("10.0.0.1", 400)
    scanned.requests.close()
    assert scanned.lines == [("10.0.0.1", 400, 1), ("10.0.0.1", 400, 2)]
