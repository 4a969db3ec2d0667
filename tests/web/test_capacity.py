"""A request holds one reservation from before its body is read until its answer ends, however it ends."""

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from werkzeug.test import create_environ

from csm import web
from tests import raw_http
from tests.web.app_settings import app_settings
from tests.web.fake_synthesizer import FakeSynthesizer

CAPACITY = 3
BODIES = {
    "good": raw_http.form("chunks=3"),
    "no audio": raw_http.form("chunks=0"),
    "fails at once": raw_http.form("fail=GenerationFailed"),
    "fails halfway": raw_http.form("chunks=3 fail=RuntimeError after=2"),
    "not streamed": raw_http.form("chunks=3", stream="false"),
    "not streamed, fails": raw_http.form("chunks=3 fail=Busy after=1", stream="false"),
    "field out of range": raw_http.form(temperature="9"),
    "broken off": raw_http.form()[:-20],
    "no form": b"rubbish",
    "too large": raw_http.form(audio=bytes(300_000)),
}


class Body(io.BytesIO):
    """A body that records whether it was read."""

    was_read = False

    def read(self, *size: Any) -> bytes:
        self.was_read = True
        return super().read(*size)


@dataclass
class Answer:
    """A request to the WSGI application, as a server carries it out: step by step."""

    status: int
    pieces: Iterator[bytes]
    iterable: Any
    body: Body

    @classmethod
    def ask(cls, app: Any, content: bytes, key: str = "secret") -> "Answer":
        body, told = Body(content), []
        headers = {"HTTP_X_API_KEY": key, "CONTENT_TYPE": raw_http.FORM_TYPE, "CONTENT_LENGTH": str(len(content))}
        environ = {**create_environ("/clone-voice", method="POST"), **headers, "wsgi.input": body}
        iterable = app(environ, lambda status, _headers: told.append(status))
        return cls(int(told[0].split()[0]), iter(iterable), iterable, body)

    def close(self) -> None:
        self.iterable.close()


class Requests(RuleBasedStateMachine):
    """Requests that begin, go on and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeSynthesizer(CAPACITY)
        self.app = web.create_app(app_settings(max_upload_mb=0.1), self.fake)
        self.open: list[Answer] = []
        self.ended: list[Answer] = []
        """The generation is over and has released the capacity, but the answer is not closed yet."""

    @rule(content=st.sampled_from(sorted(BODIES)))
    def begin(self, content: str) -> None:
        is_full = self.fake.admission.reserved == CAPACITY
        answer = Answer.ask(self.app, BODIES[content])
        assert (answer.status == 503 and not answer.body.was_read) == is_full or content == "not streamed, fails"
        released = is_full or content.startswith(("not streamed", "no audio", "fails at once"))
        (self.ended if released else self.open).append(answer)

    @rule()
    def begin_without_a_key(self) -> None:
        answer = Answer.ask(self.app, BODIES["good"], key="wrong")
        assert answer.status == 401 and not answer.body.was_read
        self.ended.append(answer)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        answer = self.open[data.draw(st.integers(0, len(self.open) - 1))]
        try:
            next(answer.pieces)
        except (StopIteration, ConnectionResetError):
            if answer.status == 200:
                self.open.remove(answer)
                self.ended.append(answer)

    @precondition(lambda self: self.open or self.ended)
    @rule(data=st.data(), again=st.booleans())
    def close(self, data: st.DataObject, again: bool) -> None:
        answers = self.open + self.ended
        answer = answers[data.draw(st.integers(0, len(answers) - 1))]
        answer.close()
        if again:
            answer.close()
        (self.open if answer in self.open else self.ended).remove(answer)

    @invariant()
    def every_open_answer_holds_one_reservation(self) -> None:
        assert self.fake.admission.reserved == len(self.open) <= CAPACITY

    def teardown(self) -> None:
        for answer in self.open + self.ended:
            answer.close()
        assert self.fake.admission.reserved == self.fake.running == 0


TestRequests = Requests.TestCase
TestRequests.settings = effort(max_examples=40, stateful_step_count=25, deadline=None)


@effort(max_examples=10, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(BODIES)), st.integers(0, 5)), min_size=1, max_size=6),
        min_size=2,
        max_size=8,
    )
)
def test_no_capacity_is_held_once_all_threads_are_done(work: list[list[tuple[str, int]]]) -> None:
    """Each thread is a client: it asks, reads some pieces and goes."""
    fake = FakeSynthesizer(CAPACITY)
    app = web.create_app(app_settings(max_upload_mb=0.1), fake)
    counts: list[int] = []

    def call(requests: list[tuple[str, int]]) -> None:
        for content, pieces in requests:
            answer = Answer.ask(app, BODIES[content])
            counts.append(fake.running)
            for _ in range(pieces):
                try:
                    next(answer.pieces)
                except (StopIteration, ConnectionResetError):
                    break
            answer.close()

    threads = [threading.Thread(target=call, args=(requests,)) for requests in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(counts) <= CAPACITY
    assert fake.admission.reserved == fake.running == 0


def test_an_unexpected_error_in_the_handler_releases_the_capacity(make_app, fake, monkeypatch) -> None:
    monkeypatch.setattr("csm.web.problems.problem", lambda *_args, **_kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Answer.ask(make_app(), BODIES["no form"])
    assert fake.admission.reserved == 0
