"""The stack as its operator handles it: started again, scaled, with other secrets, its store or bus away for longer."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.docker import docker
from tests.support.stack import Stack
from tests.support.stack_scene import RUNNING, Guest, closed, goes_on, nothing_stored_is_lost, scene_of, true_words

pytestmark = pytest.mark.timeout(900)

TAKEN_OVER_S = 15.0 + 8.0  # the cell that runs, besides
AWAY_S = 30.0


@pytest.mark.parametrize("victim", [0, 1])
async def test_of_two_backends_one_is_killed_while_a_cell_runs(stack: Stack, guest: Guest, victim: int) -> None:
    """Whichever it is, the one that drives the turn or the other: the turn is closed in time and once, the chat goes on."""
    await asyncio.to_thread(stack.up, "--scale", "backend=2", "--no-recreate")
    try:
        await guest.ok("GET", "/readyz")
        scene = await scene_of(stack, guest)
        scene.turn = await scene.tab.say(f"run {RUNNING}")
        await scene.tab.until_type("cell.output")
        begun = asyncio.get_running_loop().time()
        docker("kill", sorted(stack.containers("backend"))[victim])  # and it stays away: the other one has to do
        turn = await closed(scene)
        assert asyncio.get_running_loop().time() - begun < TAKEN_OVER_S
        true_words(turn, undisturbed=False)
        await nothing_stored_is_lost(scene)
        await goes_on(scene, "running", variables=False)
    finally:
        await asyncio.to_thread(stack.up, "--scale", "backend=1", "--no-recreate")
        for container in stack.containers("backend"):
            docker("start", container)
        await asyncio.to_thread(stack.healthy, "backend")


async def test_the_database_is_away_for_half_a_minute(stack: Stack, guest: Guest) -> None:
    scene = await scene_of(stack, guest)
    docker("stop", "-t", "20", stack.container("postgres"))
    status, said, _ = await guest.ask("GET", "/api/conversations")
    assert status == 503 and said["detail"], (status, said)
    await asyncio.sleep(AWAY_S)
    docker("start", stack.container("postgres"))
    await asyncio.to_thread(stack.healthy, "postgres")
    await nothing_stored_is_lost(scene)
    await goes_on(scene, "idle", variables=True)


async def test_redis_is_flushed_while_a_cell_runs(stack: Stack, guest: Guest) -> None:
    scene = await scene_of(stack, guest)
    scene.turn = await scene.tab.say(f"run {RUNNING}")
    await scene.tab.until_type("cell.output")
    flush = "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli flushall"
    assert stack.inside("redis", "sh", "-c", flush).stdout.strip() == "OK"
    true_words(await closed(scene), undisturbed=True)
    await goes_on(scene, "running", variables=True)


async def test_an_open_tab_sees_the_end_of_its_turn_although_everything_but_the_database_is_restarted(
    stack: Stack, guest: Guest
) -> None:
    scene = await scene_of(stack, guest)
    scene.turn = await scene.tab.say("later")
    await scene.tab.until_type("turn.opened")
    await asyncio.to_thread(docker, "restart", *(stack.container(name) for name in ("frontend", "backend", "redis")))
    for service in ("redis", "backend", "frontend"):
        await asyncio.to_thread(stack.healthy, service)
    turn = await closed(scene)
    true_words(turn, undisturbed=False)
    await goes_on(scene, "idle", variables=True)


async def test_taken_down_and_up_again_it_has_everything_and_the_same_secrets(stack: Stack, guest: Guest) -> None:
    scene = await scene_of(stack, guest)
    before = stack.inside("executor", "cat", "/run/secrets/executor_token").stdout
    await asyncio.to_thread(stack.compose, "down", "-t", "20")
    await asyncio.to_thread(stack.up)
    assert stack.inside("executor", "cat", "/run/secrets/executor_token").stdout == before
    await stack.answers()
    await nothing_stored_is_lost(scene)
    await goes_on(scene, "idle", variables=True)


async def test_another_password_in_env_takes_effect_everywhere(stack: Stack, guest: Guest) -> None:
    scene = await scene_of(stack, guest)
    env = stack.directory / ".env"
    text = env.read_text()
    try:
        env.write_text(text.replace("#POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=another.password_0123456789"))
        await asyncio.to_thread(stack.compose, "down", "-t", "20")
        await asyncio.to_thread(stack.up)
        url = stack.inside("backend", "cat", "/run/secrets/codeact_store_url").stdout
        assert ":another.password_0123456789@" in url
        await stack.answers()
        await nothing_stored_is_lost(scene)
    finally:
        env.write_text(text)


def test_a_secret_that_cannot_stand_in_a_url_is_refused_with_words(stack: Stack) -> None:
    run = docker("run", "--rm", "--network", "none", "-e", "POSTGRES_PASSWORD=p@ss", "codeact-secrets:test")
    assert run.returncode == 1
    assert "POSTGRES_PASSWORD in .env must have 16 characters or more" in run.stderr
