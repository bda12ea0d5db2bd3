"""The endpoints as tools for language models, called through the protocol's own client."""

import asyncio
import base64
import json

import httpx
import numpy as np
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from test_server import serve

from mgm_core.images import encode_png, read_alpha, read_image, read_mask


def as_url(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


async def progress(done, total, message):
    """Clients that show progress are answered on another way."""


async def call_all(address, photo):
    async with (
        streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}

        async def call(name, **sent):
            return await session.call_tool(name, sent, progress_callback=progress)

        answers = {
            "segment": await session.call_tool(
                "segment", {"photo": photo, "points": [[110, 10, False]]}
            ),
            "matte": await call("matte", photo=photo, quality="fast"),
            "apply": await call("apply", photo=photo, settings='{"quality": "fast"}'),
            "robustness": await call("robustness", photo=photo, sizes="4"),
        }
        cutout = as_url(pictures_of(answers["matte"])[0])
        answers["composite"] = await call("composite", cutout=cutout, colour="#00ff00")
        refused = [
            await call("segment", photo="no address"),
            await call("segment", photo=photo, category="unicorn"),
        ]
        return tools, answers, [answer for answer in refused if answer.isError]


def pictures_of(answer):
    assert not answer.isError, answer.content
    return [base64.b64decode(part.data) for part in answer.content if part.type == "image"]


def test_a_client_finds_the_tools_and_cuts_a_photo_out(tmp_path, pictures):
    photo = np.ascontiguousarray(pictures["astronaut"][:256:2, 90:346:2])
    with serve(tmp_path, MGM_MCP="1") as server:
        address = str(server.http.base_url).rstrip("/")
        tools, answers, refused = asyncio.run(call_all(address, as_url(encode_png(photo))))
        assert tools.keys() == answers.keys()
        assert "a photo" in tools["matte"].description
        assert tools["matte"].inputSchema["required"] == ["photo"]

        (mask,) = pictures_of(answers["segment"])
        mask = read_image(mask)[..., 0]
        assert set(np.unique(mask)) == {0, 1}
        for name in ("matte", "apply"):
            cutout, alpha = pictures_of(answers[name])
            cutout, alpha = read_alpha(cutout), read_mask(alpha)
            assert cutout.shape == photo.shape[:2]
            assert np.abs(cutout - alpha).max() < 0.01
            assert np.abs(cutout - mask).mean() < 0.1
        (composite,) = pictures_of(answers["composite"])
        assert np.allclose(read_image(composite)[cutout == 0], (0, 1, 0))
        # Beside each picture is the address of its file.
        address = answers["composite"].content[1].text.removeprefix("Image URL: ")
        assert np.array_equal(read_image(httpx.get(address).content), read_image(composite))
        (trials,) = answers["robustness"].content
        trials = json.loads(trials.text.replace("'", '"'))
        assert [trial["grow_px"] for trial in trials] == [-4, 0, 4]
        reasons = [answer.content[0].text for answer in refused]
        assert len(reasons) == 2
        assert "Category must be one of" in reasons[1]
