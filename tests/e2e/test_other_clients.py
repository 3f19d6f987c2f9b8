"""Clients that others wrote, with their own settings: each gets its answer."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support import needs
from tests.support.client import check_problem
from tests.support.data import RED, REPOSITORY
from tests.support.images import encoded
from tests.support.processes import Process, answers, free_port, wait_for

pytestmark = pytest.mark.tensorflow

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

public class Post {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int turn = 0; turn < 2; turn++) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "image/png")
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[1]))).build();
            var response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
"""
NODE = """
const { readFileSync } = require("node:fs");
const [url, path] = process.argv.slice(1);
(async () => {
    const photo = readFileSync(path);
    const form = new FormData();
    form.append("image", new Blob([photo]), "ä.png");
    for (const options of [{ body: photo }, { body: form }]) {
        const response = await fetch(url, { method: "POST", ...options });
        console.log(response.status, JSON.stringify(await response.json()));
    }
})();
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "red.png"
    path.write_bytes(RED)
    return path


def run(*command: str, package: str) -> str:
    """Run a command of a Debian package; return what it printed."""
    needs.program(command[0], command[0], package).check()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(answer: str) -> None:
    """Check that an answer has one classified image."""
    (result,) = json.loads(answer)["results"]
    assert result["predictions"]


@pytest.mark.parametrize("route", ["predict", "preview"])
def test_curl_that_offers_http_2(server: Process, photo: Path, route: str, tmp_path: Path) -> None:
    output = tmp_path / "answer"
    command = ["--silent", "--http2", "--data-binary", f"@{photo}", "-H", "Content-Type: image/png", "-o", str(output)]
    assert run("curl", *command, "-w", "%{http_code}", f"{server.url}/{route}", package="curl") == "200"
    assert output.read_bytes()[:4] in (b'{"mo', b"\x89PNG")


@pytest.mark.parametrize(
    "options",
    [
        ["--data-binary", "@{}"],
        ["-F", "image=<{};type=image/png"],
        ["-F", "image=@{}"],
        ["-H", "Expect: 100-continue", "-T", "{}", "-X", "POST"],
    ],
    ids=["no content type", "a part without a file name", "a file", "expects to be told to go on"],
)
def test_curl(server: Process, photo: Path, options: list[str]) -> None:
    filled = [option.format(photo) for option in options]
    check(run("curl", "--silent", *filled, f"{server.url}/predict", package="curl"))


def test_wget(server: Process, photo: Path) -> None:
    check(run("wget", "--quiet", "-O", "-", f"--post-file={photo}", f"{server.url}/predict", package="wget"))


def test_pythons_urllib(server: Process, photo: Path) -> None:
    script = (
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], open(sys.argv[2], 'rb').read()).read().decode())"
    )
    check(run(sys.executable, "-c", script, f"{server.url}/predict", str(photo), package="python3"))


def test_javas_default_client_offers_http_2_and_is_answered(server: Process, photo: Path, tmp_path: Path) -> None:
    source = tmp_path / "Post.java"
    source.write_text(JAVA)
    lines = run("java", str(source), f"{server.url}/predict", str(photo), package="default-jdk-headless").splitlines()
    assert [line[:4] for line in lines] == ["200 ", "200 "]
    check(lines[0][4:])


def test_nodes_fetch(server: Process, photo: Path) -> None:
    lines = run("node", "-e", NODE, f"{server.url}/predict", str(photo), package="nodejs").splitlines()
    assert [line[:4] for line in lines] == ["200 ", "200 "]
    check(lines[1][4:])


@pytest.mark.parametrize("options", [["-k"], []], ids=["keep-alive", "close"])
def test_apachebench_speaks_http_1_0_and_waits_for_nothing(server: Process, photo: Path, options: list[str]) -> None:
    command = [*options, "-n", "40", "-c", "4", "-p", str(photo), "-T", "image/png", f"{server.url}/predict"]
    report = run("ab", *command, package="apache2-utils")
    assert "Complete requests:      40" in report
    assert "Non-2xx responses" not in report


@pytest.mark.parametrize("text", [base64.encodebytes(RED).decode(), base64.urlsafe_b64encode(RED).decode().rstrip("=")])
def test_json_with_the_base64_of_androids_libraries(server: Process, text: str, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"images": [text]}))
    check(run("curl", "--silent", "--json", f"@{body}", f"{server.url}/predict", package="curl"))


NGINX = """
daemon off;
user root;  # who may write into the folder of a test; without root the line is ignored
pid {folder}/pid;
error_log {folder}/error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
(LOCATIONS,) = re.findall(r"^```nginx\n(.*?)^```$", (REPOSITORY / "docs" / "deployment.md").read_text(), re.M | re.S)


@contextmanager
def behind_nginx(server: Process, tmp_path: Path, locations: str, path: str) -> Iterator[str]:
    """Run nginx in front of the service, which it shows at a path; yield the URL."""
    needs.program("nginx", "nginx", "nginx-light").check()
    port = free_port()
    locations = locations.replace("http://127.0.0.1:8000", server.url)
    locations = locations.replace("proxy_pass", "proxy_set_header X-Forwarded-For 203.0.113.7;\nproxy_pass")
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, locations=locations))
    with subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]) as nginx:
        url = f"http://127.0.0.1:{port}{path}"
        try:
            wait_for(lambda: answers(f"{url}/healthz"))
            yield url
        finally:
            nginx.terminate()


@pytest.fixture
def proxied(server: Process, tmp_path: Path) -> Iterator[str]:
    """The service below a path of nginx, as docs/deployment.md shows it."""
    with behind_nginx(server, tmp_path, LOCATIONS, "/vision") as url:
        yield url


def test_behind_nginx_as_documented_a_photo_of_megabytes_is_classified(proxied: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    large = encoded(Image.fromarray(noise), "PNG")
    assert len(large) > 2_000_000
    check(httpx.post(f"{proxied}/predict", content=large).text)


def test_behind_nginx_that_strips_a_prefix_every_page_and_link_works(proxied: str) -> None:
    with httpx.Client(base_url=f"{proxied}/") as client:
        assert client.post("predict", content=RED).status_code == 200
        assert client.get("openapi.json").json()["servers"] == [{"url": "/vision"}]
        pages = {path: client.get(path).text for path in ("", "docs", "redoc")}
        linked = {link for page in pages.values() for link in re.findall(r'(?:src|href)="([^"#]+)"', page)}
        assert {"/vision/docs-assets/swagger-ui-bundle.js", "web/page.js"} <= linked
        for link in linked:
            assert client.get(httpx.URL(f"{proxied}/").join(link)).status_code == 200, link
        assert "/vision/predict;" in check_problem(client.post("predict/", content=RED), 404, "not_found")


def test_behind_nginx_without_a_prefix_as_documented_no_client_sets_one(server: Process, tmp_path: Path) -> None:
    prefixed = r"^  Without a prefix, write `(location /)` and `(proxy_set_header .*?;)`"
    ((location, header),) = re.findall(prefixed, (REPOSITORY / "docs" / "deployment.md").read_text(), re.M)
    locations = LOCATIONS.replace("location /vision/", location).replace(
        "proxy_set_header X-Forwarded-Prefix /vision;", header
    )
    assert "vision" not in locations
    with behind_nginx(server, tmp_path, locations, "") as url:
        document = httpx.get(f"{url}/openapi.json", headers={"X-Forwarded-Prefix": "/elsewhere"}).json()
        assert "servers" not in document or document["servers"] == [{"url": "/"}]
