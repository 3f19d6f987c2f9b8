"""Who may call, and what a browser may do with the answers."""

import base64
import hashlib
import re

import pytest

from app.api import pages, security
from app.environment import load
from app.errors import StartError
from tests.support.client import Launch, check_problem
from tests.support.data import solid

KEYS = ("first-key", "second-key")
LOCKED = ("/model-info", "/labels", "/variants")
OPEN = ("/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/", "/web/page.js")


def test_any_of_the_keys_opens_every_route_in_either_header(launch: Launch) -> None:
    client = launch(api_keys=KEYS)
    for key in KEYS:
        bearer = [{"Authorization": f"{scheme}{key}"} for scheme in ("Bearer ", "bearer   ")]
        for headers in (*bearer, {"X-API-Key": key}):
            for path in LOCKED:
                assert client.get(path, headers=headers).status_code == 200
            assert client.post("/predict", content=solid((9, 9, 9)), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic Zmlyc3Qta2V5"},
        {"Authorization": "first-key"},
        {"X-API-Key": "first-ke"},
        {"X-API-Key": "first-key,second-key"},
        {"X-API-Key": "f\u00efrst-key"},
        {"X-API-Key": ""},
    ],
)
def test_without_a_right_key_nothing_is_told_and_no_body_is_read(launch: Launch, headers: dict[str, str]) -> None:
    client = launch(api_keys=KEYS)
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    for response in [client.get(path, headers=sent) for path in LOCKED] + [
        client.post("/predict", content=b"no image", headers=sent)
    ]:
        detail = check_problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == 'Bearer realm="mobilenet"'
        assert "first" not in detail


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?topk=1", {}), ("", {"X-Request-Timeout-Ms": "soon"}), ("", {"X-Request-Timeout-Ms": "0"})],
)
def test_without_a_key_nothing_is_told_of_what_else_is_wrong(
    launch: Launch, query: str, headers: dict[str, str]
) -> None:
    client = launch(api_keys=KEYS)
    check_problem(client.post(f"/predict{query}", headers=headers), 401, "unauthorized")
    with_key = client.post(f"/predict{query}", headers=headers | {"X-API-Key": KEYS[0]})
    check_problem(with_key, 422, "invalid_parameter")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer of-a-proxy", "X-API-Key": "first-key"},
        {"Authorization": "Bearer first-key", "X-API-Key": "of-a-proxy"},
    ],
)
def test_of_two_keys_in_two_headers_one_that_is_right_suffices(launch: Launch, headers: dict[str, str]) -> None:
    client = launch(api_keys=KEYS)
    assert client.get("/labels", headers=headers).status_code == 200
    assert client.post("/predict", content=solid((9, 9, 9)), headers=headers).status_code == 200


@pytest.mark.parametrize(("keys", "status"), [(("first-key", "wrong"), 200), (("wrong", "first-key"), 401)])
def test_of_a_header_that_is_there_twice_every_route_takes_the_first(
    launch: Launch, keys: tuple[str, str], status: int
) -> None:
    client = launch(api_keys=KEYS)
    headers = [("X-API-Key", key) for key in keys]
    assert client.get("/labels", headers=headers).status_code == status
    assert client.post("/predict", content=solid((9, 9, 9)), headers=headers).status_code == status


def test_a_scheme_without_a_key_is_no_wrong_key(launch: Launch) -> None:
    for value in ("Bearer", "Bearer   "):
        response = launch(api_keys=KEYS).get("/labels", headers={"Authorization": value})
        assert check_problem(response, 401, "unauthorized").startswith("a key is needed")


def test_probes_and_pages_stay_open_and_the_metrics_unless_they_are_closed(launch: Launch) -> None:
    client = launch(api_keys=KEYS)
    assert [client.get(path).status_code for path in OPEN] == [200] * len(OPEN)
    closed = launch(api_keys=KEYS, open_metrics=False)
    check_problem(closed.get("/metrics"), 401, "unauthorized")
    assert closed.get("/metrics", headers={"X-API-Key": KEYS[0]}).status_code == 200
    assert closed.get("/readyz").status_code == 200


def test_every_key_is_compared_whatever_the_first_one_was(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(security, "compare_digest", compare)
    client = launch(api_keys=KEYS)
    assert client.get("/labels", headers={"X-API-Key": KEYS[0]}).status_code == 200
    assert compared == [(32, 32), (32, 32)]


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_API_KEYS", "first-key, second-key")
    settings = load()
    assert [key.get_secret_value() for key in settings.api_keys] == list(KEYS)
    assert "first" not in repr(settings)
    monkeypatch.setenv("MOBILENET_API_KEYS", "first key")
    with pytest.raises(StartError, match="MOBILENET_API_KEYS: a key must be") as caught:
        load()
    assert "first" not in str(caught.value)


def test_every_answer_has_the_headers_that_keep_a_browser_from_guessing(launch: Launch) -> None:
    client = launch()
    answers = [client.get(path) for path in ("/labels", "/nowhere", "/docs", "/docs-assets/swagger-ui.css")]
    answers += [client.post("/predict", content=content) for content in (solid((9, 9, 9)), b"<html>")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 200, 415]
    for headers in (answer.headers for answer in answers):
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_a_page_runs_its_own_scripts_and_no_others(launch: Launch, path: str) -> None:
    page = launch().get(path)
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"]
    for script in re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy["script-src"]
    assert policy["connect-src"] == "'self'"
    for unused in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[unused] == "'none'", "what a page does not need, an injected piece of it may not have either"


def test_the_page_has_no_style_and_no_script_but_its_files(launch: Launch) -> None:
    page = launch().get("/")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page.text)


def test_only_the_page_may_ask_for_the_camera(launch: Launch) -> None:
    allowed = {path: launch().get(path).headers["permissions-policy"] for path in ("/", "/docs", "/redoc")}
    assert allowed["/"].startswith("camera=(self), microphone=()")
    assert allowed["/docs"].startswith("camera=(), microphone=()")
    assert allowed["/redoc"].startswith("camera=(), microphone=()")


def test_whatever_the_page_names_is_served_and_nothing_lies_about(launch: Launch) -> None:
    client = launch()
    found: set[str] = set()
    waiting = [""]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        if path == "":
            waiting += re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
        if path.endswith(".js"):
            waiting += [f"web/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)]
    files = {f"web/{path.name}" for path in pages.WEB.iterdir()}
    assert files - {"web/index.html"} == {path for path in found if path.startswith("web/")}
