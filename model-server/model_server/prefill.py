"""Computes a prompt's beginning ahead of time, so that the first real question finds it in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp

TIMEOUT_S = 120.0


async def prefill(base_url: str, api_key: str, model: str, messages: Sequence[dict[str, Any]]) -> bool:
    """Ask for one token after `messages` (the system prompt) and throw it away. True when the server did it; never
    raises for what the server does: it is only faster with it."""
    body = {"model": model, "messages": list(messages), "max_tokens": 1, "temperature": 0}
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http,
            http.post(f"{base_url.rstrip('/')}/chat/completions", json=body, headers=headers) as response,
        ):
            await response.read()
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
