"""Proxies and certificates of the environment are used, or what is wrong with them is one line."""

import inspect
import ssl
from typing import Any

import httpx
import pytest

from app.network import client_options, is_direct, proxy_variable

NAMES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def options(url: str) -> dict[str, Any]:
    found = client_options(httpx.URL(url))
    httpx.Client(**found).close()
    return found


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", False),
        ("*", True),
        ("[::1]", True),
        ("::1", True),
        ("fe80::/10, ::/64", True),
        ("fe80::/10", False),
        ("localhost,127.0.0.1", False),
    ],
)
def test_an_ipv6_address_is_asked_directly_where_no_proxy_says_so(
    no_proxy: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (options("http://[::1]:8000")["proxy"] is None) == direct


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("a.example", "example", True),
        ("a.example", ".example", True),
        ("a.example", "*.example", True),
        ("a.example", "A.EXAMPLE:8000", True),
        ("badexample", "example", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "192.168.0.0/16,,", False),
        ("a.example", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_has_names_domains_addresses_and_networks(host: str, no_proxy: str, direct: bool) -> None:
    assert is_direct(host, no_proxy) == direct


def test_the_proxy_of_the_scheme_comes_before_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:2")
    assert options("https://a.example")["proxy"].url.host == "secure.example"
    assert options("http://a.example")["proxy"].url.host == "all.example"


def test_a_proxy_without_a_scheme_is_one_of_http_as_with_curl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "user:s3cret@127.0.0.1:3128")
    assert options("http://a.example")["proxy"].url == "http://127.0.0.1:3128"
    assert proxy_variable(httpx.URL("http://a.example")) == "HTTP_PROXY=http://***@127.0.0.1:3128"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", r"httpx\[socks\]"),
        ("HTTPS_PROXY", "ftp://x", "HTTPS_PROXY=ftp://x: is not the URL of a proxy, such as http://[^ ]+; its scheme "),
        ("HTTPS_PROXY", "http://x:port", "HTTPS_PROXY=http://x:port: is not the URL of a proxy"),
        ("SSL_CERT_FILE", "/nowhere", "SSL_CERT_FILE=/nowhere: cannot read"),
        ("SSLKEYLOGFILE", "/nowhere/keys", "SSLKEYLOGFILE=/nowhere/keys: cannot write there: No such file"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))  # not a kept one
    with pytest.raises(ValueError, match=says) as caught:
        options("https://a.example")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["ftp://user:s3cret@x", "http://user:s3cr/et@x"])
def test_a_password_in_a_wrong_address_of_a_proxy_is_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ValueError, match=r"HTTPS_PROXY=\w+://\*\*\*@x: is not the URL of a proxy") as caught:
        options("https://a.example")
    assert "s3cr" not in str(caught.value)
