package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// unreachable says why no session could be opened at a public address, and what
// to do.
func unreachable(host string, err error) Finding {
	if f, found := untrusted(host, err); found {
		return f
	}
	const check = "handshake"
	if dns, found := errors.AsType[*net.DNSError](err); found {
		return bad(Fail, check, dns.Error(), "an address of the proxy", "add the name to DNS, or correct --url")
	}
	if _, found := errors.AsType[tls.RecordHeaderError](err); found || strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		return bad(Fail, "TLS", "the port does not speak TLS", "a TLS handshake", "write http:// in --url, or enable TLS on this port of the proxy")
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return bad(Fail, check, err.Error(), "an open port", "start the proxy, open the port in the firewall, or correct --url")
	}
	return bad(Fail, check, err.Error(), "200 and an open packet", "configure the proxy to pass /socket.io/ unchanged to the gateway's PORT")
}

// untrusted describes what is wrong with a certificate.
func untrusted(host string, err error) (f Finding, found bool) {
	const check, want = "TLS", "a certificate that browsers and phones trust"
	name, _, split := net.SplitHostPort(host)
	if split != nil {
		name = host
	}
	if wrong, is := errors.AsType[x509.HostnameError](err); is {
		return bad(Fail, check, wrong.Error(), "a certificate for "+name, "get one for this name, or use a name of the certificate in --url"), true
	}
	if wrong, is := errors.AsType[x509.CertificateInvalidError](err); is {
		return bad(Fail, check, wrong.Error(), want, "renew the certificate and reload the proxy"), true
	}
	wrong, is := errors.AsType[x509.UnknownAuthorityError](err)
	if !is {
		return f, false
	}
	what := "the certificate is not trusted: " + wrong.Error()
	if wrong.Cert != nil {
		what = fmt.Sprintf("the certificate of %q is not trusted: it is signed by %q, which is no known authority",
			wrong.Cert.Subject.CommonName, wrong.Cert.Issuer.CommonName)
	}
	return bad(Fail, check, what, want,
		"have the proxy send the whole chain (nginx: ssl_certificate fullchain.pem), or, with an authority of your own, run this with SSL_CERT_FILE=its.pem"), true
}
