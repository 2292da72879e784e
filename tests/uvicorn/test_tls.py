from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Certificates
from uvicorn.errors import ConfigError
from uvicorn.tls import create_ssl_context


def context(certificates: Certificates, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "certfile": certificates.certificate,
        "keyfile": certificates.key,
        "password": None,
        "ssl_version": 17,
        "cert_reqs": 0,
        "ca_certs": None,
        "ciphers": None,
    }
    return create_ssl_context(**{**arguments, **changes})


@pytest.fixture(scope="module")
def encrypted(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
    path = tmp_path_factory.mktemp("encrypted") / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    return path


def test_a_file_may_hold_chain_and_key_together(certificates: Certificates, tmp_path: Path):
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.key.read_bytes() + certificates.certificate.read_bytes())
    assert context(certificates, certfile=both, keyfile=None)


def test_protocols_are_offered_only_when_named(certificates: Certificates):
    assert context(certificates, alpn_protocols=["http/1.1"])


def test_an_encrypted_key_needs_its_password(certificates: Certificates, encrypted: Path):
    assert context(certificates, keyfile=encrypted, password="hunter2")
    with pytest.raises(ConfigError, match=f"^ssl_keyfile: '{encrypted}' is encrypted and ssl_keyfile_password is not"):
        context(certificates, keyfile=encrypted)
    with pytest.raises(ConfigError, match=f"^ssl_keyfile: '{encrypted}' cannot be read with the given") as caught:
        context(certificates, keyfile=encrypted, password="wrong")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("setting", ["certfile", "keyfile", "ca_certs"])
def test_a_file_that_cannot_be_read_is_named_with_its_setting(certificates: Certificates, setting: str):
    with pytest.raises(ConfigError, match=rf"^ssl_{setting}: cannot read '/no/such': No such file or directory$"):
        context(certificates, **{setting: "/no/such"})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ssl_version": 99}, r"^ssl_version: 99 is not a protocol"),
        ({"ciphers": "NONSENSE"}, r"^ssl_ciphers: OpenSSL takes none of 'NONSENSE'"),
    ],
)
def test_a_value_that_openssl_refuses_is_one_line(certificates: Certificates, changes: dict[str, Any], line: str):
    with pytest.raises(ConfigError, match=line):
        context(certificates, **changes)


def test_files_that_do_not_belong_together_are_one_line(certificates: Certificates, tmp_path: Path):
    other = tmp_path / "other.pem"
    other.write_bytes(pytest.importorskip("trustme").CA().issue_cert("x").private_key_pem.bytes())
    with pytest.raises(ConfigError, match=rf"^ssl_keyfile: '{other}' is not the key of '{certificates.certificate}'$"):
        context(certificates, keyfile=other)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text(f"written on {datetime.date.today()}")
    with pytest.raises(ConfigError, match="are not a chain and its key in PEM"):
        context(certificates, certfile=garbage)
    with pytest.raises(ConfigError, match="holds no certificates"):
        context(certificates, ca_certs=garbage)


def test_a_chain_without_its_key_says_where_to_name_the_key(certificates: Certificates):
    with pytest.raises(
        ConfigError, match=r"^ssl_certfile: .* is not a chain with its key in PEM .*; ssl_keyfile names"
    ):
        context(certificates, certfile=certificates.authority, keyfile=None)
