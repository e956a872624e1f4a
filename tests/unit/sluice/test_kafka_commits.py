import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from sluice.errors import StorageUnavailable
from sluice.kafka import commits
from sluice.kafka.commits import Commits

PLACES = [TopicPartition("t", 0, 5), TopicPartition("t", 1, 7)]


class Client:
    """Takes commits; what became of them it tells when it is heard."""

    def __init__(self, committing: Commits) -> None:
        self.asked: list[list[TopicPartition]] = []
        self.heard = 0
        self.answers: list[tuple[KafkaError | None, list[TopicPartition]]] = []
        self._committing = committing

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.asked.append(offsets)

    def listen(self) -> None:
        self.heard += 1
        if self.answers and self.heard > 2:
            self._committing.heard(*self.answers.pop(0))


def commit(committing: Commits, client: Client) -> list[TopicPartition]:
    return committing.commit(client, PLACES, client.listen)


@pytest.fixture
def committing() -> Commits:
    return Commits()


@pytest.fixture
def client(committing: Commits) -> Client:
    return Client(committing)


def test_a_commit_returns_what_the_client_tells_of_it(committing: Commits, client: Client) -> None:
    client.answers = [(None, PLACES)]
    assert commit(committing, client) == PLACES
    assert client.asked == [PLACES]


def test_an_error_is_raised(committing: Commits, client: Client) -> None:
    client.answers = [(KafkaError(KafkaError.ILLEGAL_GENERATION), PLACES)]
    with pytest.raises(KafkaException):
        commit(committing, client)


def test_what_was_asked_before_does_not_answer_for_it(committing: Commits, client: Client) -> None:
    client.answers = [(KafkaError(KafkaError._WAIT_COORD), [TopicPartition("t", 0, 4)]), (None, PLACES)]
    assert commit(committing, client) == PLACES


def test_without_an_answer_the_client_is_heard_all_the_while_and_the_wait_ends(
    committing: Commits, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "ANSWER_S", 0.05)
    with pytest.raises(StorageUnavailable, match="did not answer a commit"):
        commit(committing, client)
    assert client.heard > 2


def test_given_up_and_asked_again_the_first_answer_will_do(
    committing: Commits, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "ANSWER_S", 0.01)
    with pytest.raises(StorageUnavailable):
        commit(committing, client)
    monkeypatch.undo()
    client.answers = [(None, PLACES)]
    assert commit(committing, client) == PLACES
    assert client.asked == [PLACES, PLACES]
