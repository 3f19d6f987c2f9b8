"""How this process reaches other hosts: by the proxies and certificates that the environment names.

httpx reads the same variables, but `NO_PROXY=[::1]`, a network such as `fe80::/10`, or a file of certificates that is
not there make it fail with a traceback.
"""

import os
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.request import getproxies

import httpx

from app.errors import without_password

SCHEMES = ("http", "https", "socks5", "socks5h")


def client_options(address: httpx.URL) -> dict[str, Any]:
    """Return the options of an httpx client that asks one address: its proxy and its certificates.

    Raises `ValueError` in one line that names the variable that is wrong.
    """
    return {"proxy": _proxy(address), "verify": _certificates(), "trust_env": False}


def proxy_variable(address: httpx.URL) -> str | None:
    """Return the variable that names the proxy by which an address is asked, as `NAME=VALUE`, or None."""
    name, value = _proxy_named(address)
    return f"{name.upper()}_PROXY={without_password(value)}" if name else None


def _proxy_named(address: httpx.URL) -> tuple[str, str]:
    """Return for which scheme the environment names the proxy of an address, and its value; both empty if it does not.

    Without a scheme of its own it is one of HTTP, as with curl.
    """
    proxies = getproxies()
    name = next((name for name in (address.scheme, "all") if proxies.get(name)), "")
    if not name or is_direct(address.host, proxies.get("no", "")):
        return "", ""
    value = proxies[name]
    return name, value if "://" in value else f"http://{value}"


def _proxy(address: httpx.URL) -> httpx.Proxy | None:
    _, value = _proxy_named(address)
    if not value:
        return None
    variable = proxy_variable(address)
    try:
        proxy = httpx.Proxy(value)
    except (httpx.InvalidURL, ValueError):  # whose words may be a part of the password
        proxy = None
    if proxy is None or proxy.url.scheme not in SCHEMES or not proxy.url.host:
        raise ValueError(
            f"{variable}: is not the URL of a proxy, such as http://proxy.example:3128; its scheme must be one of "
            f"{', '.join(SCHEMES)}"
        )
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ValueError(f"{variable}: a SOCKS proxy needs the package httpx[socks]")
    return proxy


def is_direct(host: str, no_proxy: str) -> bool:
    """Whether a host is asked without a proxy, by the value of `NO_PROXY`: names, domains, addresses and networks."""
    return any(
        _matches(host.strip("[]").lower(), entry.strip().lower()) for entry in no_proxy.split(",") if entry.strip()
    )


def _matches(host: str, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except (ValueError, TypeError):  # one of them is a name
        name = entry.rsplit(":", 1)[0] if entry.count(":") == 1 else entry
        name = name.removeprefix("*").lstrip(".").strip("[]")
        return host == name or host.endswith(f".{name}")


def _certificates() -> Any:
    try:
        return httpx.create_ssl_context()
    except OSError as exc:
        log = os.environ.get("SSLKEYLOGFILE")
        if log and exc.filename == log:
            raise ValueError(f"SSLKEYLOGFILE={log}: cannot write there: {exc.strerror}") from exc
        names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
        given = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        raise ValueError(f"{given}: cannot read certificates there: {exc.strerror or exc}") from exc
