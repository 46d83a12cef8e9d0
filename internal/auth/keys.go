package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minRSABits is the smallest RSA key that is accepted (RFC 7518 section 3.3).
const minRSABits = 2048

const pemMark = "-----BEGIN "

// publicKey reads a public key, from PEM text or the path of a PEM file, and
// returns it with the one algorithm that it verifies.
func publicKey(textOrPath string) (key any, alg string, err error) {
	text := textOrPath
	if !strings.Contains(text, pemMark) {
		file, err := os.ReadFile(textOrPath)
		if err != nil {
			// The error does not quote the path: it may be a key that is not
			// written as PEM.
			if failed, ok := errors.AsType[*fs.PathError](err); ok {
				err = failed.Err
			}
			return nil, "", fmt.Errorf("public key is neither PEM text (%q) nor the path of a readable file: %w", pemMark+"PUBLIC KEY-----", err)
		}
		text = string(file)
	}
	// In files of environment variables a key is on one line.
	text = strings.ReplaceAll(text, `\n`, "\n")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, "", errors.New("public key: no PEM block that can be read")
	}
	if key, err = parseBlock(block); err != nil {
		return nil, "", fmt.Errorf("public key, PEM block %q: %w", block.Type, err)
	}
	alg, err = algorithmOf(key)
	return key, alg, err
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, errors.New(`want "PUBLIC KEY", "RSA PUBLIC KEY" or "CERTIFICATE"`)
}

// algorithmOf returns the one algorithm of a key.
func algorithmOf(key any) (string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return "", fmt.Errorf("public key: RSA of %d bits, want at least %d", bits, minRSABits)
		}
		return jwt.SigningMethodRS256.Alg(), nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", fmt.Errorf("public key: curve %s, want P-256", key.Params().Name)
		}
		return jwt.SigningMethodES256.Alg(), nil
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA.Alg(), nil
	}
	return "", fmt.Errorf("public key: %T, want RSA, ECDSA P-256 or Ed25519", key)
}
