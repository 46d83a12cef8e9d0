"""Tests the gateway with python3-socketio, a client that shares no code with
socket.io-client. Exits with an error at the first wrong result."""

import os
import queue
import re
import sys
import traceback

import tls  # noqa: F401, must come before socketio
import socketio

URL = os.environ["GATEWAY_URL"]
TRANSPORTS = {"default": None}.get(os.environ["TRANSPORT"], [os.environ["TRANSPORT"]])
ROOM = {"roomType": "conversation", "roomId": os.environ["ROOM"]}
NAME = "conversation:" + os.environ["ROOM"]
PATIENCE = 10  # s
EVENTS = ["connected", "user_joined", "user_left", "user_typing", "user_stop_typing"]


class Client:
    def __init__(self, auth):
        self.sio = socketio.Client(reconnection=False)
        self.inbox = queue.Queue()
        for event in EVENTS:
            self.sio.on(event, lambda body, event=event: self.inbox.put((event, body)))
        self.sio.connect(URL, auth=auth, transports=TRANSPORTS, wait_timeout=PATIENCE)

    def want(self, event):
        got, body = self.inbox.get(timeout=PATIENCE)
        assert got == event, (got, body, event)
        return body

    def want_of(self, event, other):
        body = self.want(event)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body.pop("timestamp")), body
        assert body == {"socketId": other.sio.get_sid(), "userId": other.user, "room": NAME}, body

    def call(self, event, data, want):
        got = self.sio.call(event, data, timeout=PATIENCE)
        assert got == want, (event, data, got)


def connect(user):
    client = Client({"token": os.environ["TOKEN_" + user.upper()]})
    client.user = user
    greeting = client.want("connected")
    assert (greeting["socketId"], greeting["userId"]) == (client.sio.get_sid(), user), greeting
    return client


def refused():
    sio, errors = socketio.Client(reconnection=False), queue.Queue()
    sio.on("connect_error", errors.put)
    sio.connect(URL, auth={"token": "garbage"}, transports=TRANSPORTS, wait=False)
    error = errors.get(timeout=PATIENCE)
    assert error == {"message": "Authentication error: jwt malformed"}, error
    sio.disconnect()


def main():
    refused()
    ann, ben = connect("ann"), connect("ben")
    wanted = "polling" if TRANSPORTS == ["polling"] else "websocket"
    assert ann.sio.transport() == wanted, ann.sio.transport()

    ann.call("join_room", ROOM, {"success": True, "message": "Joined room: " + NAME, "members": 1})
    ben.call("join_room", ROOM, {"success": True, "message": "Joined room: " + NAME, "members": 2})
    ann.want_of("user_joined", ben)
    ann.call("typing", ROOM, {"success": True})
    ben.want_of("user_typing", ann)
    ann.sio.emit("stop_typing", ROOM)
    ben.want_of("user_stop_typing", ann)
    ben.call("join_room", {"roomType": "garage", "roomId": "1"}, {"error": "Invalid roomType"})
    ben.call("typing", None, {"error": "Missing roomType or roomId"})
    ben.sio.emit("photo", b"\x00\x01\x02" * 1000)
    ben.call("leave_room", ROOM, {"success": True, "message": "Left room: " + NAME})
    ann.want_of("user_left", ben)
    ben.call("typing", ROOM, {"error": "Not in room"})
    assert ann.inbox.empty() and ben.inbox.empty()
    ben.sio.disconnect()
    ann.sio.disconnect()


try:
    main()
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # without waiting for the library's threads, which do not end
