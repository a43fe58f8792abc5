"""`customForwarding` of metal-stack's AuditConfig: an output in fluent-bit's language as a destination of the sink.

As there, the keys of all sections in the text are one output, the last of a key wins, and what the Secret holds for TLS
comes on top. The translation is that of `auditsink fluentbit`.
"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auditsink.fluentbit import classic
from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentEntry, FluentSection
from auditsink.fluentbit.translate import Surroundings, translate
from auditsink.gardener.control_plane import Reference
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import Object, data
from auditsink.gardener.sink.plan import DATA, REFERENCES, Mounted, SecretSources

CONFIG_KEY = "fluent-bit-output.conf"
DIRECTORY = "custom-forwarding"
NAME = "custom-forwarding"
_TLS = {"ca.crt": "tls.ca_file", "tls.crt": "tls.crt_file", "tls.key": "tls.key_file"}
_PLACE = "backends.customForwarding"


def destination(config: Object, reference: Reference | None, secret: Object | None) -> tuple[Object, SecretSources]:
    """From the ConfigMap (values encoded as a Secret's) and the Secret if there is one. Raises ConfigurationError."""
    files = _files(reference, secret)
    try:
        entries = {entry.key: entry for entry in _entries(data(config, CONFIG_KEY))}
        for key in files:
            path = f"{REFERENCES}/{DIRECTORY}/{key}"
            entries[_TLS[key]] = FluentEntry(_TLS[key], path, f"Secret {reference.original if reference else ''}")
        output = FluentSection("output", tuple(entries.values()), CONFIG_KEY)
        posted = FluentSection("input", (FluentEntry("name", "http", CONFIG_KEY),), CONFIG_KEY)
        translated = translate(FluentDocument((posted, output)), Surroundings({}, storage=DATA))
    except (FluentBitError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{_PLACE}.configMapResourceName: {problem}") from None
    (made,) = translated.document["destinations"]
    name = reference.name if reference else ""
    sources = SecretSources(tuple(Mounted(DIRECTORY, "Secret", name, key) for key in files))
    return {**made, "name": NAME}, sources


def _entries(text: bytes) -> list[FluentEntry]:
    if not text.strip():
        raise FluentBitError(f"has no key {CONFIG_KEY}; write an [OUTPUT] into it")
    sections = [part for part in classic.parse(text.decode(), CONFIG_KEY) if isinstance(part, FluentSection)]
    if not any(section.kind == "output" for section in sections):
        raise FluentBitError("has no [OUTPUT]; write one")
    found = [entry for section in sections for entry in section.entries]
    for entry in found:
        if "${" in entry.value:
            raise FluentBitError(f"{entry.place}: {entry.key}: there are no variables; write the value")
    return found


def _files(reference: Reference | None, secret: Object | None) -> list[str]:
    """Which of the three the Secret holds; what is no PEM would stop the sink."""
    found = [key for key in sorted(_TLS) if secret is not None and data(secret, key)]
    for key in found:
        assert secret is not None
        try:
            if key.endswith(".key"):
                load_pem_private_key(data(secret, key), None)
            else:
                x509.load_pem_x509_certificates(data(secret, key))
        except (ValueError, TypeError):
            name = reference.original if reference else ""
            kind = "key" if key.endswith(".key") else "certificate"
            raise ConfigurationError(f"{_PLACE}.secretResourceName: Secret {name}: {key} is no {kind} in PEM") from None
    return found
