"""Makes ssl.SSLSocket safe for one reading and one writing thread.

Before Python 3.12.8 and 3.13.1 the two threads of websocket-client may enter
OpenSSL for one connection at the same time, which OpenSSL does not allow. In
these tests about one in fifty TLS connections was lost or stopped
(https://github.com/python/cpython/issues/124984). Import it before socketio.
"""

import select
import ssl
import threading

_read, _send = ssl.SSLSocket.read, ssl.SSLSocket.send


def read(self, *args, **kwargs):
    patience = self.gettimeout()
    while True:
        with _lock(self):
            self.settimeout(0)
            try:
                return _read(self, *args, **kwargs)
            except ssl.SSLWantReadError:
                pass
            finally:
                self.settimeout(patience)
        if not select.select([self], [], [], patience)[0]:
            raise TimeoutError("timed out")


def send(self, *args, **kwargs):
    with _lock(self):
        return _send(self, *args, **kwargs)


def _lock(connection):
    return connection.__dict__.setdefault("_one_at_a_time", threading.Lock())


ssl.SSLSocket.read, ssl.SSLSocket.send = read, send
