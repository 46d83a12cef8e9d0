package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestDoctorReportsUnreachableAddresses(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = nil
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	port := secure.URL[strings.LastIndex(secure.URL, ":"):]
	for name, row := range map[string]struct {
		url              string
		config           *tls.Config
		check, found, do string
	}{
		"an untrusted certificate":       {secure.URL, nil, "TLS", "not trusted: it is signed by", "fullchain.pem"},
		"a certificate for another name": {"https://localhost" + port, &tls.Config{RootCAs: roots}, "TLS", "not localhost", "for this name"},
		"an expired certificate":         {secure.URL, &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().AddDate(100, 0, 0) }}, "TLS", "expired", "renew"},
		"no TLS":                         {strings.Replace(plain.URL, "http", "https", 1), nil, "TLS", "does not speak TLS", "http://"},
		"no server":                      {gone.URL, nil, "handshake", "refused", "firewall"},
		"an unknown host name":           {"http://nowhere.invalid", nil, "handshake", "nowhere.invalid", "DNS"},
		"a proxy that does not forward":  {plain.URL, nil, "handshake", "404", "/socket.io/"},
	} {
		p := Proxy{URL: row.url, TLS: row.config}
		f := p.Check(t.Context())[0]
		if f.Check != row.check || f.Verdict != Fail || !strings.Contains(f.Found, row.found) || !strings.Contains(f.Do, row.do) {
			t.Errorf("%s: %+v, want %s with %q and %q", name, f, row.check, row.found, row.do)
		}
	}
}
