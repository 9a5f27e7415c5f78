from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from steersman.agent.paths import places

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until


async def test_status_and_stop(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    where = ["--daemon", daemon.address]
    code, out, err = await home.done("agent", "status", *where)
    assert (code, out) == (4, "")
    assert f"no agent runs on this host for the daemon at {daemon.address}" in err
    waiting = "while ! [ -e enough ]; do sleep 0.05; done"
    running = await home.run("run", *where, "--job", "j", "--", "sh", "-c", waiting)
    await until(lambda: daemon.job("j"))
    code, out, err = await home.done("agent", "status", "--json", *where)
    found = json.loads(out)
    assert (code, err, found["pid"], found["connected"]) == (0, "", home.agents()[0], True)
    assert [(j["job"], j["rows"], j["ended"]) for j in found["jobs"]] == [("j", 0, False)]
    assert "  j: runs, 0 rows, 0 not yet durable\n" in (await home.done("agent", "status", *where))[1]
    (home.root / "enough").touch()
    await asyncio.wait_for(running.communicate(), 60)
    code, out, err = await home.done("agent", "stop", *where)
    assert (code, out, err) == (0, "", "the agent stops\n")
    await until(lambda: not home.agents())


def test_the_runtime_folder_is_the_users_own() -> None:
    assert str(places({}).runtime) == f"/tmp/steersman-{os.getuid()}"
    assert str(places({"XDG_RUNTIME_DIR": "/proc"}).runtime) == "/proc/steersman"
    assert len(places({}).socket("127.0.0.1:7461")) < 108
