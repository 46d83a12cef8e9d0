"""COUNT clients that join ROOM at each connect, as those of ../js/member.mjs, and
emit typing events there all the time. Every step is one JSON line on standard
output."""

import asyncio
import json
import os
import sys
import threading
import time

import socketio

URL = os.environ["GATEWAY_URL"]
TRANSPORTS = {"default": None}.get(os.environ["TRANSPORT"], [os.environ["TRANSPORT"]])
ROOM = {"roomType": "conversation", "roomId": sys.argv[3]}
AUTH = {"token": os.environ["TOKEN"]}
DELAYS = {"reconnection_delay": 0.5, "reconnection_delay_max": 0.5, "randomization_factor": 0}
PACE = 0.02  # s between two events of a client


def say(member, step, **more):
    line = json.dumps({"member": member, "step": step, "at": int(time.time() * 1000), **more}) + "\n"
    os.write(1, line.encode())  # a single write, because several threads print


# By default a client that reconnects waits one second for the answer to CONNECT.
class Client(socketio.Client):
    def connect(self, *args, **options):
        super().connect(*args, **{"wait_timeout": 5, **options})


class AsyncClient(socketio.AsyncClient):
    async def connect(self, *args, **options):
        await super().connect(*args, **{"wait_timeout": 5, **options})


def run(member):
    sio = Client(**DELAYS)

    @sio.event
    def connect():
        say(member, "connect")
        sio.emit("join_room", ROOM, callback=lambda answer: say(member, "joined", answer=answer))

    @sio.event
    def disconnect():
        say(member, "disconnect")

    sio.connect(URL, auth=AUTH, transports=TRANSPORTS, wait_timeout=30)
    while True:
        time.sleep(PACE)
        if sio.connected:
            try:
                sio.emit("typing", ROOM)
            except socketio.exceptions.SocketIOError:
                pass  # disconnected meanwhile


async def run_async(member):
    sio = AsyncClient(**DELAYS)

    async def joined(answer):
        say(member, "joined", answer=answer)

    @sio.event
    async def connect():
        say(member, "connect")
        await sio.emit("join_room", ROOM, callback=joined)

    @sio.event
    async def disconnect():
        say(member, "disconnect")

    await sio.connect(URL, auth=AUTH, transports=TRANSPORTS, wait_timeout=30)
    while True:
        await asyncio.sleep(PACE)
        if sio.connected:
            try:
                await sio.emit("typing", ROOM)
            except socketio.exceptions.SocketIOError:
                pass  # disconnected meanwhile


async def all_async(count):
    await asyncio.gather(*(run_async(i) for i in range(count)))


kind, members = sys.argv[1], int(sys.argv[2])
if kind == "asyncio":
    asyncio.run(all_async(members))
else:
    for i in range(members):
        threading.Thread(target=run, args=(i,)).start()
