"""The ways to ask one service are compared by turns, and all of them get answers."""

import httpx

from tests.support.fakes import colour_model
from tests.support.grpc import served
from tools.load.messages import make_photos
from tools.load.protocols import CONNECTIONS, GRPC, HTTP, PREDICT, Round, grpc_loop, post_infer, table


def test_the_table_has_medians_and_ratios_of_each_round() -> None:
    speeds = {PREDICT: (100.0, 200.0, 400.0), HTTP: (50.0, 100.0, 100.0), GRPC: (80.0, 200.0, 600.0)}
    rounds = [
        Round(way, connections, found[number], 2.0, 1000 / found[number], 0.5)
        for number in range(3)
        for connections in CONNECTIONS
        for way, found in speeds.items()
    ]
    text = table(rounds)
    assert "| /predict | 1 | 200 | 2.0 | 0.50 | 5 |" in text
    assert "| /v2 | 32 | 100: 0.50 × (0.38 to 0.50) | 2.0 | 0.50 | 10: 2.00 × (2.00 to 3.00) |" in text
    assert "| gRPC | 32 | 200: 1.00 × (0.90 to 1.25) | 2.0 | 0.50 |" in text


async def test_a_load_over_grpc_counts_answers() -> None:
    async with served(colour_model()) as (_, client):
        asked = await grpc_loop(client.server.port, make_photos(2), connections=2, seconds=0.5)
    assert asked.requests_per_s > 0
    assert asked.p50_ms > 0


async def test_the_request_of_the_protocol_is_one_that_the_service_answers() -> None:
    head, _, body = post_infer("http://127.0.0.1:1", make_photos(1)[0]).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(fields["Content-Length"]) == len(body)
    async with (
        served(colour_model()) as (app, _),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        answer = await client.post(head.decode().split()[1], content=body, headers=fields | {"Host": "service"})
    assert answer.status_code == 200
    assert len(answer.content) > int(answer.headers["Inference-Header-Content-Length"])
