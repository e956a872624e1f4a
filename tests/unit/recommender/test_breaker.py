import threading

import pytest

from sluice.errors import StorageUnavailable
from sluice_recommender.api.breaker import Breaker


def failed(breaker: Breaker) -> None:
    with pytest.raises(StorageUnavailable, match="no broker"), breaker.passing():
        raise StorageUnavailable("no broker")


def test_while_all_is_well_any_number_pass_at_once() -> None:
    breaker = Breaker()
    with breaker.passing(), breaker.passing():
        pass


def test_after_a_failure_one_tries_and_the_others_are_refused_at_once() -> None:
    breaker, refused = Breaker(), []
    failed(breaker)

    def another() -> None:
        with pytest.raises(StorageUnavailable) as told, breaker.passing():
            pass
        refused.append(str(told.value))

    with breaker.passing():
        thread = threading.Thread(target=another)
        thread.start()
        thread.join(5.0)
    assert refused == ["the event log does not answer; send the request again"]


def test_one_success_closes_it_again() -> None:
    breaker = Breaker()
    failed(breaker)
    with breaker.passing():
        pass
    with breaker.passing(), breaker.passing():
        pass


def test_a_trial_that_fails_leaves_the_next_one_free_to_try() -> None:
    breaker = Breaker()
    for _ in range(3):
        failed(breaker)


def test_another_error_says_nothing_of_the_log() -> None:
    breaker = Breaker()
    with pytest.raises(ValueError, match="mine"), breaker.passing():
        raise ValueError("mine")
    with breaker.passing(), breaker.passing():
        pass
