package loop

import (
	"net/http"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/limits"
)

// readProxyHeader takes the PROXY header of a trusted proxy from the start of the input
// and returns its length: 0 when it is not complete, or the connection is
// refused; a negative number when there is none.
func (h *httpConn) readProxyHeader(buf []byte) (n int, err error) {
	client, n, err := codec.ParseProxy(buf)
	if n == 0 {
		return 0, err
	}
	h.from.ProxyHeader = false
	if !client.IsValid() {
		return n, nil // the proxy's own connection, for example a health check
	}
	h.from.Addr, h.from.Relayed = client.Addr(), false
	if !h.takePlace(limits.SourceOf(client.Addr())) {
		h.refuse(nil, http.StatusServiceUnavailable, errAddress)
		return 0, nil
	}
	return n, nil
}

// takePlace reserves the connection's place at an address, unless the address
// has reached its limit.
func (h *httpConn) takePlace(at limits.Source) bool {
	if !h.w.server.guard.Reserve(at, false) {
		h.w.stats.RefusedAddress.Add(1)
		return false
	}
	h.from.Place = at
	return true
}

// errAddress is sent to a client whose address has reached its limit.
const errAddress = "too many connections from this address"

// refuseProxy answers an unexpected header of the PROXY protocol and logs it:
// no client can connect through that proxy.
func (h *httpConn) refuseProxy(version int) {
	var why string
	switch {
	case version == 1:
		why = "PROXY protocol version 1, want version 2: set send-proxy-v2 in the proxy"
	case !h.w.server.config.ProxyProtocol:
		why = "PROXY protocol, which is off: set PROXY_PROTOCOL=true and TRUSTED_PROXIES"
	default:
		why = "PROXY protocol header of a sender that is not in TRUSTED_PROXIES, or not the first of its connection"
	}
	h.w.server.note(troubleProxy, time.Now(), h.c.RemoteAddr(), "why", why) // the proxy's address
	h.refuse(nil, http.StatusBadRequest, why)
}
