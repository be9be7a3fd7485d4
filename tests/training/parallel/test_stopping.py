"""Ctrl-C from the terminal and again from the launcher is one request to stop."""

import os
import signal

import pytest

from training.parallel import stopping


def test_an_echo_is_not_a_second_request() -> None:
    with stopping.stop_requested() as received:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGINT]


def test_a_second_request_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ECHO_SECONDS", 0.0)
    with stopping.stop_requested() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_long_work_is_given_up_at_the_first_request() -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    with stopping.stop_requested() as received:
        assert stopping.unless_stopped(lambda: None)
        assert not stopping.unless_stopped(work)
        assert received == [signal.SIGTERM], "the loop around it stops"
        assert not stopping.unless_stopped(work), "and begins no other work before"


def test_an_echo_after_the_training_does_not_interrupt_what_follows() -> None:
    with stopping.interruptible():
        with stopping.stop_requested():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stopping.interruptible(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
