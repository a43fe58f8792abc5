"""Who may post, and for which cluster."""

import pytest
from receivekit import BODY, Client, FakeSpool, make_port, request, turns

from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.tokens import digest, parse_tokens
from auditsink.receive.auth import NOBODY, Admission, Authorizer, Peer
from auditsink.receive.responses import HttpRejection, RejectionReason

TOKENS = """
# of the seed
prod  s3cret-of-prod
prod  second-of-prod
test\ts3cret-of-test
"""


def gate(tokens: str | None = TOKENS, path: str = "/audit") -> Authorizer:
    cluster_set = ClusterSet(closed=False) if tokens is None else ClusterSet(tokens=parse_tokens(tokens.encode()))
    return Authorizer(path, "default", lambda: cluster_set)


def admit(
    target: bytes, authorization: bytes | None, certificate: str = "", tokens: str | None = TOKENS
) -> Admission | RejectionReason:
    found = gate(tokens).admit(target, authorization, Peer(certificate))
    return found.reason if isinstance(found, HttpRejection) else found


@pytest.mark.parametrize(
    ("target", "authorization", "found"),
    [
        (b"/audit", b"Bearer s3cret-of-prod", Admission("prod", "token:prod")),
        (b"/audit", b"Bearer second-of-prod", Admission("prod", "token:prod")),
        (b"/audit", b"bearer  s3cret-of-test", Admission("test", "token:test")),
        (b"/audit/test", b"Bearer s3cret-of-test", Admission("test", "token:test")),
        (b"/audit/prod", b"Bearer s3cret-of-test", RejectionReason.FORBIDDEN),
        (b"/audit", None, RejectionReason.UNAUTHORIZED),
        (b"/audit", b"", RejectionReason.UNAUTHORIZED),
        (b"/audit", b"Bearer", RejectionReason.UNAUTHORIZED),
        (b"/audit", b"Bearer s3cret-of-pro", RejectionReason.UNAUTHORIZED),
        (b"/audit", b"Bearer s3cret-of-prod ,", RejectionReason.UNAUTHORIZED),
        (b"/audit", b"Basic s3cret-of-prod", RejectionReason.UNAUTHORIZED),
        (b"/audit", b"s3cret-of-prod", RejectionReason.UNAUTHORIZED),
        (b"/nowhere", b"Bearer s3cret-of-prod", RejectionReason.NOT_FOUND),
    ],
)
def test_a_token_names_its_cluster(
    target: bytes, authorization: bytes | None, found: Admission | RejectionReason
) -> None:
    assert admit(target, authorization) == found


def test_a_certificate_is_the_source_and_the_path_names_the_cluster() -> None:
    assert admit(b"/audit/prod", None, "apiserver-7", tokens=None) == Admission("prod", "cert:apiserver-7")
    assert admit(b"/audit", None, "apiserver-7", tokens=None) == Admission("default", "cert:apiserver-7")
    assert admit(b"/audit", b"Bearer s3cret-of-prod", "apiserver-7") == Admission("prod", "cert:apiserver-7")


def test_without_identities_anybody_may_post() -> None:
    assert admit(b"/audit", b"Bearer whatever", tokens=None) == Admission("default", "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("prod a\nprod\n", "line 2 has 1 words"),
        ("prod a b", "line 1 has 3 words"),
        ("prod a\n\nPROD b", "line 3 begins with no cluster's name"),
        ("prod t\xf6ken", "line 1 has a token that no header can carry"),
        ("prod hunter2\ntest hunter2", "line 2 repeats another cluster's token"),
    ],
)
def test_a_bad_tokens_file_names_the_line_and_shows_no_token(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as problem:
        parse_tokens(content.encode())
    assert "hunter" not in str(problem.value)
    assert "t\xf6ken" not in str(problem.value)


def test_the_same_pair_twice_is_no_mistake() -> None:
    assert parse_tokens(b"prod a\nprod a\n") == {digest(b"a"): "prod"}


def test_tokens_do_not_show_themselves() -> None:
    cluster_set = ClusterSet(tokens=parse_tokens(TOKENS.encode()))
    assert "s3cret" not in repr(cluster_set) + str(cluster_set.tokens)


@pytest.mark.parametrize(
    ("target", "cluster"),
    [
        (b"/audit", "default"),
        (b"/audit?timeout=30s", "default"),
        (b"/audit/a", "a"),
        (b"/audit/a?b=/c", "a"),
        (b"/audit/shoot--garden--prod.example.org", "shoot--garden--prod.example.org"),
        (b"/audit/" + b"a" * 63, "a" * 63),
        (b"http://sink/audit/a", "a"),
        (b"HTTPS://sink:9880/audit?x", "default"),
    ],
)
def test_routes(target: bytes, cluster: str) -> None:
    assert admit(target, None, tokens=None) == Admission(cluster, "")


@pytest.mark.parametrize(
    "target",
    [b"/", b"*", b"/audi", b"/auditor", b"/audit/", b"/audit/?a", b"/audit/-a", b"/audit/a-", b"/audit/a_b",
     b"/audit/A", b"/audit/" + b"a" * 64, b"/audit/a/b", b"/audit/..", b"/audit/.a", b"/audit/%61", b"/audit/a%2f",
     b"//audit", b"/audit#a", b"/audit/a\xe4", b"http://sink", b"ftp://sink/audit", b"/audit/a;b", b"/audit/a\n"],
)  # fmt: skip
def test_everything_else_is_not_found(target: bytes) -> None:
    assert admit(target, None, tokens=None) == RejectionReason.NOT_FOUND


@pytest.mark.parametrize(("path", "target"), [("/", b"/"), ("/", b"/prod"), ("/a/b/", b"/a/b/prod")])
def test_other_paths(path: str, target: bytes) -> None:
    found = gate(None, path).admit(target, None, NOBODY)
    assert found == Admission("prod" if target.endswith(b"prod") else "default", "")


def test_only_so_many_targets_are_remembered() -> None:
    routes = gate(None)
    for number in range(5000):
        routes.admit(b"/audit/c%d" % number, None, NOBODY)
    assert len(routes._routes._known) <= 1024


async def test_a_stranger_is_told_what_to_send_and_nothing_else() -> None:
    port = make_port(spool := FakeSpool(), tokens=TOKENS)
    client = Client(port)
    client.send(request(BODY, "Authorization: Bearer wr0ng-guess"))
    (answer,) = client.answers()
    assert (answer.status, answer.headers[b"www-authenticate"], answer.headers[b"connection"]) == (
        401,
        b"Bearer",
        b"close",
    )
    assert b"guess" not in answer.body
    assert spool.stored == []
    assert port.counters.rejected["unauthorized"] == 1


async def test_a_token_for_another_cluster_is_forbidden() -> None:
    port = make_port(spool := FakeSpool(), tokens=TOKENS)
    client = Client(port)
    client.send(request(BODY, "Authorization: Bearer s3cret-of-test", target="/audit/prod"))
    (answer,) = client.answers()
    assert answer.status == 403
    assert spool.stored == []


async def test_the_identity_that_was_proven_is_kept() -> None:
    port = make_port(spool := FakeSpool(), tokens=TOKENS)
    client = Client(port)
    client.send(request(BODY, "Authorization: Bearer s3cret-of-test"))
    await turns()
    assert [(one.cluster, one.source) for one in spool.stored] == [("test", "token:test")]


async def test_no_refusal_shows_a_credential_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    port = make_port(tokens=TOKENS)
    for header in ("Bearer s3cret-of-prod", "Bearer n0t-known", "Basic aHVudGVyOmh1bnRlcg=="):
        client = Client(port)
        client.send(request(b"{}", f"Authorization: {header}", target="/audit/test"))
        await turns()
    assert caplog.records
    for record in caplog.records:
        assert not any(word in str(record.__dict__) for word in ("s3cret", "n0t-known", "aHVudGVy"))
