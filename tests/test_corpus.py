"""The recorded batches are what their README says: the other tests count on it."""

import json
import tarfile

import corpus


def test_every_archive_holds_its_events_and_each_event_is_unique() -> None:
    """A comparison by digests is only as good as the uniqueness of what is compared."""
    found = [digest for name in corpus.EVENTS for digest in corpus.digests(corpus.events(name))]
    assert len(found) == sum(corpus.EVENTS.values()) == 6839
    assert len(set(found)) == len(found)


def test_bodies_are_byte_for_byte_what_was_recorded() -> None:
    """The digest that the recorder noted beside each body still fits."""
    name = "batch50-request-h2tls"
    with tarfile.open(corpus.archive(name)) as members:
        files = [members.extractfile(member) for member in members if member.name.endswith(".meta.json")]
        notes = [json.load(file) for file in files if file is not None]
    assert [note["sha256"] for note in notes] == [corpus.digest(body.data) for body in corpus.bodies(name)]
    assert [note["items"] for note in notes] == [len(body.events) for body in corpus.bodies(name)]


def test_hostile_bodies_hold_their_events_as_they_stand() -> None:
    """What is expected of the sink is found in what it is sent."""
    for body in corpus.hostile_bodies():
        assert all(event in body.data for event in body.events), body.name
    assert len({body.data for body in corpus.hostile_bodies()}) == len(corpus.hostile_bodies())
