"""Prints a line for each event that the client of docs/recovery.md gets.
recovery_test.go cuts its connection."""

import os
import sys
import time

sys.path.insert(0, os.environ["EXAMPLE"])
from recovering import RecoveringClient  # noqa: E402, the code in the docs


class PatientClient(RecoveringClient):
    def connect(self, *args, **options):  # the default is one second, too short for a busy machine
        super().connect(*args, **{"wait_timeout": 5, **options})


sio = PatientClient(reconnection_delay=0.05, reconnection_delay_max=0.2, request_timeout=30)


def say(*words):
    print(*words, flush=True)


@sio.on("connect")
def connect():
    if not sio.recovered:
        room = {"roomType": "conversation", "roomId": "python"}
        sio.emit("join_room", room, callback=lambda answer: say("joined", answer["success"]))


# The test cuts the connection when a message has been printed. If the connection
# ends before connect() has returned, python-socketio believes that it is open and
# does not reconnect.
@sio.on("new_message")
def new_message(body):
    while not sio.connected:
        time.sleep(0.005)
    say("message", body["message"], sio.recovered)


sio.start(os.environ["GATEWAY_URL"], os.environ["TOKEN"], transports=["websocket"])
sio.wait()
