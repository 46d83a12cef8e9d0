package codec

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// proxyHeader returns a PROXY protocol header of version 2.
func proxyHeader(command, family byte, body string) string {
	n := len(body)
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family, byte(n >> 8), byte(n)}) + body
}

const (
	proxied4 = "\xc0\x00\x02\x01\x0a\x00\x00\x01\xd4\x31\x0b\xba" // 192.0.2.1:54321 to 10.0.0.1:3002
	proxied6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xd4\x31\x0b\xba"
	proxiedMapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01\xd4\x31\x0b\xba"
)

func TestProxyHeaders(t *testing.T) {
	for name, c := range map[string]struct{ header, client string }{
		"TCP over IPv4":           {proxyHeader(0x21, 0x11, proxied4), "192.0.2.1:54321"},
		"TCP over IPv6":           {proxyHeader(0x21, 0x21, proxied6), "[2001:db8::1]:54321"},
		"IPv4 in IPv6":            {proxyHeader(0x21, 0x21, proxiedMapped), "192.0.2.1:54321"},
		"with TLVs behind":        {proxyHeader(0x21, 0x11, proxied4+"\x03\x00\x04abcd"), "192.0.2.1:54321"},
		"the proxy's own":         {proxyHeader(0x20, 0x00, ""), ""},
		"the proxy's own, named":  {proxyHeader(0x20, 0x11, proxied4), ""},
		"a Unix socket":           {proxyHeader(0x21, 0x31, string(make([]byte, 216))), ""},
		"an unspecified protocol": {proxyHeader(0x21, 0x00, ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want netip.AddrPort
			if c.client != "" {
				want = netip.MustParseAddrPort(c.client)
			}
			b := []byte(c.header + "GET / HTTP/1.1\r\n")
			client, n, err := ParseProxy(b)
			if err != nil || n != len(c.header) || client != want {
				t.Errorf("%v, %d, %v; want %v, %d", client, n, err, want, len(c.header))
			}
			for i := range len(c.header) {
				if client, n, err := ParseProxy(b[:i]); err != nil || n != 0 {
					t.Fatalf("the first %d bytes: %v, %d, %v; want 0", i, client, n, err)
				}
			}
		})
	}
}

func TestOtherInputIsNoProxyHeader(t *testing.T) {
	for _, text := range []string{"GET /", "\r\nGET /", "\r\n\r\n\x00\r\nQUIX", "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", "\x16\x03\x01"} {
		if _, n, err := ParseProxy([]byte(text)); n >= 0 || err != nil {
			t.Errorf("%q: %d, %v; want a negative number", text, n, err)
		}
	}
}

func TestBadProxyHeaders(t *testing.T) {
	for name, header := range map[string]string{
		"version 1":          proxyHeader(0x11, 0x11, proxied4),
		"an unknown command": proxyHeader(0x22, 0x11, proxied4),
		"short addresses":    proxyHeader(0x21, 0x11, proxied4[:11]),
		"too long":           proxyHeader(0x21, 0x11, proxied4+string(make([]byte, maxProxyBody))),
	} {
		if _, _, err := ParseProxy([]byte(header)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, _, err := ParseProxy([]byte(proxyHeader(0x21, 0x11, proxied4+string(make([]byte, maxProxyBody)))))
	if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Errorf("too long: %v, want a *LimitError", err)
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, body := range []string{proxied4, proxied6, proxiedMapped, ""} {
		for _, family := range []byte{0x00, 0x11, 0x21, 0x31} {
			f.Add([]byte(proxyHeader(0x21, family, body)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := ParseProxy(b)
		if n > len(b) || err != nil && n != 0 || n <= 0 && client.IsValid() {
			t.Fatalf("%v, %d of %d, %v", client, n, len(b), err)
		}
		if n > 0 {
			again, m, err := ParseProxy(append(bytes.Clone(b[:n]), "more"...))
			if again != client || m != n || err != nil {
				t.Fatalf("with more behind it: %v, %d, %v; want %v, %d", again, m, err, client, n)
			}
		}
	})
}
