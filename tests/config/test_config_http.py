"""Mistakes in what an `http` destination is told: each is one line that names the key and shows no value."""

import pytest
from configkit import mistakes

from auditsink import load

HTTP = 'type: http, url: "http://h"'
TOKEN = 'token_url: "http://t", client_id: c'


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (f"{HTTP}, format: loki, otlp: {{}}", "otlp: has no effect with format loki"),
        (f"{HTTP}, elasticsearch: {{}}", "elasticsearch: has no effect with format ndjson"),
        (f"{HTTP}, format: loki, loki: {{labels: {{}}}}", "loki.labels: is empty"),
        (f"{HTTP}, format: loki, loki: {{labels: {{a-b: SECRET}}}}", "loki.labels.a-b: is no label"),
        (f'{HTTP}, format: loki, loki: {{labels: {{a: "{{x}}"}}}}', "loki.labels.a: has a {...} that is not known"),
        (f'{HTTP}, format: otlp, otlp: {{resource: {{a: "}}"}}}}', "otlp.resource.a: has a {...} that is not known"),
        *(
            (f'{HTTP}, format: elasticsearch, elasticsearch: {{index: "{index}"}}', "elasticsearch.index: write lower")
            for index in ("", "SECRET", ".a", "-a", "a b", "a/b", "{SECRET}", "a" * 129)
        ),
        (
            f'{HTTP}, format: elasticsearch, elasticsearch: {{fields: {{"@timestamp": SECRET}}}}',
            "elasticsearch.fields: must not hold @timestamp",
        ),
        *(
            (f'{HTTP}, format: meilisearch, meilisearch: {{index: "{index}"}}', "meilisearch.index: write letters")
            for index in ("", "a.b", "{date}")
        ),
        (f'{HTTP}, auth: {{bearer: SECRET, scheme: "A B"}}', "auth.scheme: is no word"),
        (f'{HTTP}, auth: {{username: "a:b", password: SECRET}}', "auth.username: holds a colon"),
        (
            f"{HTTP}, auth: {{bearer: SECRET, oauth2: {{{TOKEN}, client_secret: SECRET}}}}",
            "auth.oauth2: contradicts bearer",
        ),
        (
            f"{HTTP}, auth: {{username: u, password: SECRET, oauth2: {{{TOKEN}, client_secret: SECRET}}}}",
            "auth.oauth2: contradicts username",
        ),
        (f"{HTTP}, auth: {{oauth2: {{{TOKEN}}}}}", "auth.oauth2.client_secret_file: is missing"),
        (
            f"{HTTP}, auth: {{oauth2: {{{TOKEN}, client_secret: SECRET, client_secret_file: f}}}}",
            "auth.oauth2.client_secret: stands beside client_secret_file",
        ),
        (
            f'{HTTP}, auth: {{oauth2: {{token_url: "http://u:SECRET@t", client_id: c, client_secret: SECRET}}}}',
            "auth.oauth2.token_url: holds credentials",
        ),
        (
            f'{HTTP}, auth: {{oauth2: {{token_url: "http://t", client_id: "", client_secret: SECRET}}}}',
            "auth.oauth2.client_id: is empty",
        ),
        (f'{HTTP}, headers: {{Proxy-Authorization: "SECRET"}}', "headers.Proxy-Authorization: is set by the sink"),
        (f'{HTTP}, proxy: {{url: "http://p/SECRET"}}', "proxy.url: has a path or is not http"),
        (f'{HTTP}, proxy: {{url: "https://p:1"}}', "proxy.url: has a path or is not http"),
        (f'{HTTP}, proxy: {{url: "socks5://p:1"}}', "proxy.url: is no URL"),
        (f'{HTTP}, proxy: {{url: "http://u:SECRET@p:1"}}', "proxy.url: holds credentials"),
        (f'{HTTP}, proxy: {{url: "http://[::1"}}', "proxy.url: is no URL"),
        (
            'type: splunk, url: "http://h", token: t, proxy: {url: "http://p:1", username: u}',
            "proxy.password_file: is missing",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_its_key(destination: str, expected: str) -> None:
    (told,) = mistakes(f"destinations: [{{name: a, {destination}}}]")
    assert told.startswith(f"f.yaml: destinations[0].{expected}")
    assert "SECRET" not in told


@pytest.mark.parametrize(
    "destination",
    [
        f'{HTTP}, format: elasticsearch, elasticsearch: {{index: "audit-{{cluster}}-{{date}}"}}',
        f'{HTTP}, format: meilisearch, meilisearch: {{index: "Audit_{{cluster}}"}}',
        f'{HTTP}, format: loki, loki: {{labels: {{a: "x-{{cluster}}"}}}}',
        f"{HTTP}, format: otlp",
        f"{HTTP}, auth: {{oauth2: {{{TOKEN}, client_secret: s}}}}",
        f'{HTTP}, proxy: {{url: "http://p:3128/"}}',
    ],
)
def test_what_makes_sense_is_taken(destination: str) -> None:
    assert load.parse(f"destinations: [{{name: a, {destination}}}]".encode(), "f.yaml", {}).destinations
