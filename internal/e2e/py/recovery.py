"""Prints what a client of docs/recovery.md gets, a line each: recovery_test.go
cuts its connection."""

import os
import sys

sys.path.insert(0, os.environ["EXAMPLE"])
from recovering import RecoveringClient  # noqa: E402, the code in the docs

sio = RecoveringClient(reconnection_delay=0.05, reconnection_delay_max=0.2)


def say(*words):
    print(*words, flush=True)


@sio.on("connect")
def connect():
    if not sio.recovered:
        room = {"roomType": "conversation", "roomId": "python"}
        sio.emit("join_room", room, callback=lambda answer: say("joined", answer["success"]))


@sio.on("new_message")
def new_message(body):
    say("message", body["message"], sio.recovered)


sio.start(os.environ["GATEWAY_URL"], os.environ["TOKEN"], transports=["websocket"])
sio.wait()
