"""From the ssl_* settings to a context, with errors that name the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from uvicorn.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    Path = str | os.PathLike[str]


def create_ssl_context(
    certfile: Path,
    keyfile: Path | None,
    password: str | None,
    ssl_version: int,
    cert_reqs: int,
    ca_certs: Path | None,
    ciphers: str | None,
    alpn_protocols: list[str] | None = None,
) -> ssl.SSLContext:
    """Return a server context. No protocols are offered by ALPN unless named. Raises ConfigError."""
    import ssl

    for setting, path in (("ssl_certfile", certfile), ("ssl_keyfile", keyfile), ("ssl_ca_certs", ca_certs)):
        if path is not None:
            # load_cert_chain's own error names no file
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"{setting}: cannot read {os.fspath(path)!r}: {error.strerror}") from None
    try:
        context = ssl.SSLContext(ssl_version)
    except ValueError:
        raise ConfigError(
            f"ssl_version: {ssl_version} is not a protocol this Python knows; 17 is TLS for servers"
        ) from None
    # Without a callback OpenSSL would ask for the passphrase on the terminal, and a service would hang.
    get_password = (lambda: password) if password is not None else _no_password
    try:
        context.load_cert_chain(certfile, keyfile, get_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(_explain_chain(certfile, keyfile, password, error)) from None
    context.verify_mode = ssl.VerifyMode(cert_reqs)
    if ca_certs is not None:
        try:
            context.load_verify_locations(ca_certs)
        except ssl.SSLError as error:
            raise ConfigError(
                f"ssl_ca_certs: {os.fspath(ca_certs)!r} holds no certificates ({_reason(error)})"
            ) from None
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise ConfigError(f"ssl_ciphers: OpenSSL takes none of {ciphers!r} ({_reason(error)})") from None
    if alpn_protocols is not None:
        context.set_alpn_protocols(alpn_protocols)
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _explain_chain(certfile: Path, keyfile: Path | None, password: str | None, error: Exception) -> str:
    key = "ssl_keyfile" if keyfile is not None else "ssl_certfile"
    name = os.fspath(keyfile if keyfile is not None else certfile)
    if isinstance(error, ValueError) and not hasattr(error, "reason"):
        return f"{key}: {name!r} is encrypted and ssl_keyfile_password is not given"
    reason = _reason(error)
    if "KEY_VALUES_MISMATCH" in reason:
        return f"ssl_keyfile: {name!r} is not the key of {os.fspath(certfile)!r}"
    if keyfile is None and password is None:
        return (
            f"ssl_certfile: {name!r} is not a chain with its key in PEM ({reason}); ssl_keyfile names one that is apart"
        )
    if password is not None:
        return f"{key}: {name!r} cannot be read with the given ssl_keyfile_password, or it is not PEM ({reason})"
    return (
        f"ssl_certfile, ssl_keyfile: {os.fspath(certfile)!r} and {name!r} are not a chain and its key in PEM ({reason})"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
