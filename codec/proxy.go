package codec

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// proxySignature begins every header of version 2 of the PROXY protocol.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	proxyHead = 16 // bytes: signature, version and command, family, length

	// maxProxyBody limits the addresses and what a proxy adds after them; TLS
	// details take some 200 bytes.
	maxProxyBody = 2048
)

// ProxyVersion returns the version of the PROXY protocol whose header is at the
// start of b, 0 when none is.
func ProxyVersion(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return 1
	case bytes.HasPrefix(b, proxySignature):
		return 2
	}
	return 0
}

// ParseProxy parses the header in which a proxy sends the address of a
// connection's client (PROXY protocol version 2, section 2.2). n = 0 without an
// error means that b may be the start of one; n < 0 that it is not one. The
// address is zero if the connection is the proxy's own (LOCAL) or the client
// has no IP address.
func ParseProxy(b []byte) (client netip.AddrPort, n int, err error) {
	if !bytes.HasPrefix(b, proxySignature) {
		if bytes.HasPrefix(proxySignature, b) {
			return client, 0, nil
		}
		return client, -1, nil
	}
	if len(b) < proxyHead {
		return client, 0, nil
	}
	command, family := b[12], b[13]
	length := int(binary.BigEndian.Uint16(b[14:]))
	if command != 0x20 && command != 0x21 {
		return client, 0, syntax(LayerProxy, "version and command 0x%02x, want 0x20 or 0x21", command)
	}
	if length > maxProxyBody {
		return client, 0, &LimitError{LayerProxy, "header bytes", length, maxProxyBody}
	}
	if len(b) < proxyHead+length {
		return client, 0, nil
	}
	if command == 0x21 {
		if client, err = proxyClient(family, b[proxyHead:proxyHead+length]); err != nil {
			return client, 0, err
		}
	}
	return client, proxyHead + length, nil
}

// proxyClient reads the source address and port.
func proxyClient(family byte, b []byte) (netip.AddrPort, error) {
	size := 0
	switch family >> 4 {
	case 1:
		size = 4
	case 2:
		size = 16
	default: // unspecified, or a Unix socket
		return netip.AddrPort{}, nil
	}
	if len(b) < 2*size+4 {
		return netip.AddrPort{}, syntax(LayerProxy, "%d bytes of addresses, want %d", len(b), 2*size+4)
	}
	addr, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[2*size:])), nil
}
