"""The endpoints as tools for language models, called through the protocol's own client."""

import asyncio
import base64
import re

import httpx
import numpy as np
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from test_server import started

from mgm_core.images import encode_png, read_alpha, read_image


def as_url(pixels):
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def test_a_client_finds_the_tools_and_cuts_a_photo_out(tmp_path, pictures):
    photo = np.ascontiguousarray(pictures["astronaut"][:256:2, 90:346:2])

    async def ask(url):
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            found = {}
            for name in ("segment", "matte"):
                (full,) = (tool for tool in tools if re.search(rf"(^|_){name}$", tool))
                found[name] = await session.call_tool(full, {"photo": as_url(photo)})
            refused = await session.call_tool(full, {"photo": "no address"})
            return tools, found, refused

    with started(tmp_path, MGM_MCP="1", MGM_QUALITY="fast") as server:
        tools, found, refused = asyncio.run(ask(str(server.http.base_url) + "/"))
        assert {"robustness", "composite"} <= {name.rpartition("mgm_")[2] for name in tools}
        for name, tool in tools.items():
            assert tool.description, name
        assert "a photo" in next(t.description for n, t in tools.items() if n.endswith("matte"))
        urls = {
            name: re.findall(r"https?://\S+?\.png", " ".join(c.text for c in answer.content))
            for name, answer in found.items()
        }
        (mask,) = urls["segment"]
        cutout, _ = urls["matte"]
        mask = read_image(httpx.get(mask).content)[..., 0]
        alpha = read_alpha(httpx.get(cutout).content)
    assert set(np.unique(mask)) == {0, 1}
    assert alpha.shape == photo.shape[:2]
    assert np.abs(alpha - mask).mean() < 0.1
    assert refused.isError
