"""One long-polling client that prints "ready" and waits for COUNT notifications.
A second connection is a failure: a response was lost."""

import asyncio
import os
import sys
import threading

import socketio

URL, AUTH = os.environ["GATEWAY_URL"], {"token": os.environ["TOKEN"]}
PATIENCE = 60  # s
kind, count = sys.argv[1], int(sys.argv[2])


def threads():
    sio, done, got, connects = socketio.Client(), threading.Event(), [], []
    sio.on("connect", lambda: connects.append(1))

    @sio.on("new_notification")
    def take(body):
        got.append(body)
        if len(got) == count:
            done.set()

    sio.connect(URL, auth=AUTH, transports=["polling"], wait_timeout=PATIENCE)
    print("ready", flush=True)
    done.wait(PATIENCE)
    sio.disconnect()
    return len(got), len(connects)


async def tasks():
    sio, done, got, connects = socketio.AsyncClient(), asyncio.Event(), [], []
    sio.on("connect", lambda: connects.append(1))

    @sio.on("new_notification")
    async def take(body):
        got.append(body)
        if len(got) == count:
            done.set()

    await sio.connect(URL, auth=AUTH, transports=["polling"], wait_timeout=PATIENCE)
    print("ready", flush=True)
    try:
        await asyncio.wait_for(done.wait(), PATIENCE)
    except asyncio.TimeoutError:
        pass
    await sio.disconnect()
    return len(got), len(connects)


result = threads() if kind == "threads" else asyncio.run(tasks())
if result != (count, 1):
    sys.exit(f"{result[0]} of {count} notifications on {result[1]} connections")
